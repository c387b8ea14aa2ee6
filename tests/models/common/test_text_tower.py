"""The cut text tower against open_clip's own, which pads every prompt to 77 tokens."""

import re

import open_clip
import pytest
import torch
from helpers.tiny_clip import golden_clip, tiny_clip
from open_clip.tokenizer import SimpleTokenizer

from ovseg.errors import ConfigError, VocabularyError
from ovseg.models.common import text_tower
from ovseg.models.common.linear import linear_backend
from ovseg.models.common.text_tower import ClipTextEncoder, PromptTooLongError
from ovseg.vocabulary import load_templates

TOKENIZER = SimpleTokenizer()
PROMPTS = [
    "a photo of a cat.",
    "",
    "There is a large, very large, extraordinarily large hippopotamus in the scene, and nobody minds.",
    "cat",
    "This is a photo of a medium cat.",
    "a photo of a cat.",
    " ".join(["word"] * 75),
]


def reference(clip, prompts):
    with torch.no_grad():
        return clip.encode_text(TOKENIZER(list(prompts)))


@pytest.mark.parametrize("backend", ["plain", "onednn"])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_equals_open_clip_at_77_tokens(quick_gelu, backend):
    clip = tiny_clip(quick_gelu=quick_gelu)
    with linear_backend(backend):
        features = ClipTextEncoder(clip, TOKENIZER).encode(PROMPTS)
    assert features.dtype == torch.float32
    assert features.shape == (len(PROMPTS), 48)
    expected = reference(clip, PROMPTS)
    assert expected.abs().mean() > 0.3
    torch.testing.assert_close(features, expected, rtol=0, atol=5e-6)


def test_activation_matters_here():
    """Otherwise the test above could not tell GELU from QuickGELU."""
    plain, quick = (reference(tiny_clip(quick_gelu=quick), PROMPTS) for quick in (False, True))
    assert (plain - quick).abs().max() > 1e-3


@pytest.mark.parametrize(
    "text_cfg",
    [
        {"ls_init_value": 0.5},
        {"proj_bias": True},
        {"proj_type": "none"},
        {"layers": 1},
        {"context_length": 80},
        {"norm_kwargs": {"eps": 1e-3}},
        {"heads": 4, "mlp_ratio": 2.0},
    ],
    ids=str,
)
def test_every_shape_of_tower(text_cfg):
    clip = tiny_clip(**text_cfg)
    tokens = TOKENIZER(PROMPTS, context_length=text_cfg.get("context_length", 77))
    with torch.no_grad():
        expected = clip.encode_text(tokens)
    features = ClipTextEncoder(clip, TOKENIZER).encode(PROMPTS)
    torch.testing.assert_close(features, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("tokens", [1, 40, 200])
def test_batches_are_bounded_and_put_back_in_order(monkeypatch, tokens):
    monkeypatch.setattr(text_tower, "TOKENS_PER_BATCH", tokens)
    sizes = []
    forward = text_tower._forward
    monkeypatch.setattr(
        text_tower, "_forward", lambda *args: sizes.append(args[1].rows.shape) or forward(*args)
    )
    clip = tiny_clip()
    prompts = [f"{'very ' * (index * 7 % 11)}old cat number {index}" for index in range(23)]
    features = ClipTextEncoder(clip, TOKENIZER).encode(prompts)
    torch.testing.assert_close(features, reference(clip, prompts), rtol=0, atol=5e-6)
    assert sum(rows for rows, _ in sizes) == 23
    assert all(rows == 1 or rows * length <= tokens for rows, length in sizes)
    assert max(length for _, length in sizes) < 20


def test_what_prompts_share_is_computed_once(monkeypatch):
    computed = []
    forward = text_tower._forward
    monkeypatch.setattr(
        text_tower, "_forward", lambda clip, packed: computed.append(packed) or forward(clip, packed)
    )
    prompts = [
        template.replace("{}", name)
        for name in ("cat", "hot dog", "hot tub")
        for template in load_templates("vild")
    ]
    clip = tiny_clip()
    features = ClipTextEncoder(clip, TOKENIZER).encode(prompts * 2)
    torch.testing.assert_close(features, reference(clip, prompts * 2), rtol=0, atol=5e-6)
    tokens = [
        [TOKENIZER.sot_token_id, *TOKENIZER.encode(prompt), TOKENIZER.eot_token_id] for prompt in prompts
    ]
    beginnings = {tuple(ids[: end + 1]) for ids in tokens for end in range(len(ids))}
    (packed,) = computed
    assert len(packed.tokens) == len(beginnings) < 0.6 * sum(map(len, tokens))


def test_name_that_spells_out_the_end_token():
    clip = tiny_clip()
    prompts = ["a <end_of_text> cat", "a <end_of_text> dog", "a cat"]
    features = ClipTextEncoder(clip, TOKENIZER).encode(prompts)
    torch.testing.assert_close(features, reference(clip, prompts), rtol=0, atol=5e-6)
    assert torch.equal(features[0], features[1])


def test_one_prompt_and_none():
    encoder = ClipTextEncoder(tiny_clip(), TOKENIZER)
    alone = encoder.encode(["a photo of a cat."])
    torch.testing.assert_close(alone, encoder.encode(PROMPTS)[:1], rtol=0, atol=5e-6)
    assert encoder.encode([]).shape == (0, 48)


def test_bfloat16_tower():
    clip = tiny_clip()
    full = ClipTextEncoder(clip, TOKENIZER).encode(PROMPTS)
    half = ClipTextEncoder(clip.to(torch.bfloat16), TOKENIZER).encode(PROMPTS)
    assert half.dtype == torch.float32
    similarity = torch.nn.functional.cosine_similarity(full, half)
    assert 0.99 < similarity.min() < 1.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_gpu():
    clip = tiny_clip()
    expected = reference(clip, PROMPTS)
    features = ClipTextEncoder(clip.cuda(), TOKENIZER).encode(PROMPTS)
    assert features.is_cuda
    torch.testing.assert_close(features.cpu(), expected, rtol=0, atol=2e-3)


def test_longest_prompt_that_fits_and_the_first_that_does_not():
    clip = tiny_clip()
    encoder = ClipTextEncoder(clip, TOKENIZER)
    fits = " ".join(["cat"] * 75)
    torch.testing.assert_close(encoder.encode([fits]), reference(clip, [fits]), rtol=0, atol=5e-6)
    with pytest.raises(
        PromptTooLongError,
        match=r"A prompt has 78 tokens, start and end included, and this CLIP reads 77\. Shorten it: cat",
    ) as caught:
        encoder.encode(["dog", fits + " cat"])
    assert (caught.value.index, caught.value.tokens, caught.value.limit) == (1, 78, 77)
    assert isinstance(caught.value, VocabularyError)


@pytest.mark.parametrize(
    ("text_cfg", "reason"),
    [
        ({"no_causal_mask": True}, "its tokens see what comes after them"),
        ({"pool_type": "last"}, "it is read at 'last' and not at the end token"),
        ({"qk_norm": True}, "it is made of CustomResidualAttentionBlock"),
        ({"act_kwargs": {"approximate": "tanh"}}, "its activation is GELU(approximate='tanh')"),
    ],
)
def test_tower_that_would_be_wrong_is_refused(text_cfg, reason):
    clip = tiny_clip(**text_cfg)
    message = (
        f"This CLIP's text tower is not supported: {reason}. Supported are the causal towers of open_clip"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        ClipTextEncoder(clip, TOKENIZER)


def test_a_mask_that_is_not_causal_is_refused():
    clip = tiny_clip()
    clip.attn_mask[0, 1] = 0.0
    with pytest.raises(ConfigError, match="its tokens see what comes after them"):
        ClipTextEncoder(clip, TOKENIZER)


def test_built_on_the_meta_device_and_filled_later():
    trained = tiny_clip()
    with torch.device("meta"):
        clip = open_clip.CLIP(
            embed_dim=48,
            vision_cfg={"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
            text_cfg={"width": 64, "heads": 2, "layers": 3},
        )
    encoder = ClipTextEncoder(clip, TOKENIZER)
    clip.load_state_dict(trained.state_dict(), assign=True)
    assert clip.attn_mask.is_meta
    torch.testing.assert_close(encoder.encode(PROMPTS), reference(trained, PROMPTS), rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", ["tiny", "tiny_rn"])
def test_golden_towers_equal_open_clip(name):
    clip = golden_clip(name)
    features = ClipTextEncoder(clip, TOKENIZER).encode(PROMPTS)
    torch.testing.assert_close(features, reference(clip, PROMPTS), rtol=0, atol=5e-6)


def test_fingerprint_follows_architecture_weights_and_number_format():
    def fingerprint(clip):
        return ClipTextEncoder(clip, TOKENIZER).fingerprint()

    clip = tiny_clip()
    first = fingerprint(clip)
    assert fingerprint(tiny_clip()) == first
    others = {
        fingerprint(tiny_clip(salt=2)),
        fingerprint(tiny_clip(quick_gelu=True)),
        fingerprint(tiny_clip(heads=4)),
        fingerprint(tiny_clip(norm_kwargs={"eps": 1e-3})),
        fingerprint(tiny_clip().to(torch.bfloat16)),
    }
    assert len(others | {first}) == 6
    with torch.no_grad():
        clip.visual.conv1.weight.add_(1.0)
        clip.logit_scale.add_(1.0)
    assert fingerprint(clip) == first, "the image tower has no part in text embeddings"
