"""CLIPs by architecture: what is built, and what is said of those that are not."""

import gzip
import json
from pathlib import Path

import open_clip
import pytest
import torch
from helpers.tiny_fcclip import read_golden

from ovseg.errors import ConfigError, WeightsError
from ovseg.models.common.clip import build_clip, clip_state


@pytest.fixture
def config() -> dict:
    """Of a very small CLIP, as open_clip's own files have it."""
    return json.loads(json.dumps(read_golden("tiny").facts["clip_config"]))


def write(folder: Path, config: object) -> str:
    path = folder / "small.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return str(path)


def test_an_architecture_by_name() -> None:
    with torch.device("meta"):
        clip, tokenizer = build_clip("RN50")
    assert isinstance(clip, open_clip.CLIP)
    assert all(parameter.is_meta for parameter in clip.parameters())
    assert clip.text_projection.shape == (512, 1024)
    assert tokenizer.context_length == 77


def test_an_architecture_by_file(tmp_path: Path, config: dict) -> None:
    config["text_cfg"]["context_length"] = 20
    with torch.device("meta"):
        clip, tokenizer = build_clip(write(tmp_path, config))
    assert clip.text_projection.shape == (64, 64)
    assert clip.context_length == tokenizer.context_length == 20


@pytest.mark.parametrize(
    ("in_file", "pretrained", "quick"),
    [(None, None, False), (None, "openai", True), (True, None, True), (None, "own/file.pt", False)],
)
def test_openai_s_weights_need_quick_gelu(
    tmp_path: Path, config: dict, in_file: bool | None, pretrained: str | None, quick: bool
) -> None:
    if in_file is not None:
        config["quick_gelu"] = in_file
    with torch.device("meta"):
        clip, _ = build_clip(write(tmp_path, config), pretrained)
    assert is_quick(clip) == quick


@pytest.mark.parametrize(
    ("architecture", "pretrained", "quick"),
    [
        ("RN50", "RN50:openai", True),
        ("RN50", "yfcc15m", True),
        ("ViT-B-16", "ViT-B-16:openai", True),
        ("ViT-L-14", "ViT-L-14-quickgelu:metaclip_400m", True),
        ("ViT-H-14", "ViT-H-14:laion2b_s32b_b79k", False),
    ],
)
def test_listed_names_say_their_activation(
    architecture: str, pretrained: str, quick: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.device("meta"):
        clip, _ = build_clip(architecture, pretrained)
    assert is_quick(clip) == quick
    assert not caplog.records


@pytest.mark.parametrize("architecture", ["ViT-B-16", "ViT-B-16-quickgelu", "convnext_base"])
def test_a_file_does_not_say_its_activation(architecture: str, caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        clip, _ = build_clip(architecture, "weights/open_clip_model.safetensors")
    assert is_quick(clip) == (architecture == "ViT-B-16-quickgelu")
    if architecture == "ViT-B-16":
        assert caplog.messages == [
            "weights/open_clip_model.safetensors: a file does not say its activation; GELU is used, as "
            "ViT-B-16 has it. Weights of OpenAI, MetaCLIP and DFN need QuickGELU: for these give the "
            "backbone architecture=ViT-B-16-quickgelu."
        ]
    else:
        assert not caplog.messages


def is_quick(clip: open_clip.CLIP) -> bool:
    return isinstance(clip.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU)


def test_an_unknown_architecture_suggests_near_ones() -> None:
    with pytest.raises(ConfigError) as error:
        build_clip("convnext_large_d_32")
    message = str(error.value)
    assert message.startswith(
        "open_clip has no architecture 'convnext_large_d_32'. Did you mean convnext_large_d"
    )
    assert "convnext_large_d_320" in message
    assert message.endswith("`python -c 'import open_clip; print(open_clip.list_models())'` lists all.")


def test_an_unknown_architecture_without_near_ones() -> None:
    with pytest.raises(ConfigError) as error:
        build_clip("xyzzy")
    assert "'xyzzy'. `python" in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        build_clip(str(tmp_path / "none.json"))
    assert str(error.value) == f"The CLIP architecture file '{tmp_path / 'none.json'}' does not exist."


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"The CLIP architecture file '.*small\.json' is no JSON: Expecting"
    ):
        build_clip(write(tmp_path, "embed_dim: 64"))


@pytest.mark.parametrize(
    ("content", "lacking"),
    [({"embed_dim": 64}, "text_cfg, vision_cfg"), ([64], "embed_dim, text_cfg, vision_cfg")],
)
def test_a_file_that_describes_no_clip(tmp_path: Path, content: object, lacking: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_clip(write(tmp_path, content))
    assert f"lacks {lacking}. It must look like one of open_clip's own files" in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "foreign"),
    [
        ("roberta-ViT-B-32", "hf_model_name, hf_tokenizer_name"),
        ("EVA02-B-16", "custom_text"),
        ("coca_ViT-B-32", "custom_text, multimodal_cfg"),
    ],
)
def test_other_kinds_of_models_are_refused(architecture: str, foreign: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_clip(architecture)
    assert str(error.value) == (
        f"The CLIP architecture '{architecture}' is not of open_clip's plain two-tower kind: it has "
        f"{foreign}. ovseg supports for example convnext_large_d_320 and RN50."
    )


def test_a_file_of_weights_loses_what_is_no_parameter() -> None:
    kept = {"token_embedding.weight": torch.zeros(1), "visual.conv1.weight": torch.ones(1)}
    extras = ("input_resolution", "context_length", "vocab_size", "attn_mask")
    state = {**kept, **{name: torch.zeros(1) for name in extras}}
    assert clip_state(state, source="file.pt") == kept


def test_a_file_without_a_text_tower() -> None:
    with pytest.raises(WeightsError) as error:
        clip_state({"visual.conv1.weight": torch.ones(1)}, source="file.pt")
    assert str(error.value) == (
        "file.pt is no CLIP of open_clip: it has no 'token_embedding.weight'. "
        "Give the file of a model with an image and a text tower."
    )


def test_an_architecture_that_comes_with_ovseg() -> None:
    clip, tokenizer = build_clip("toyworld_clip_vit")
    assert clip.context_length == tokenizer.context_length == 40
    assert tokenizer.eot_token_id + 1 == tokenizer.vocab_size == clip.token_embedding.num_embeddings


def test_merges_lie_beside_the_architecture(tmp_path: Path, config: dict) -> None:
    (tmp_path / "few.txt.gz").write_bytes(gzip.compress(b"#version\na b</w>\nb c</w>"))
    config["text_cfg"] |= {"vocab_size": 516, "tokenizer_kwargs": {"bpe_path": "few.txt.gz"}}
    with torch.device("meta"):
        _, tokenizer = build_clip(write(tmp_path, config))
    assert tokenizer.encode("ab") == [512]
    assert len(tokenizer.encode("ba")) == 2


def test_merges_that_do_not_exist(tmp_path: Path, config: dict) -> None:
    config["text_cfg"] |= {"vocab_size": 516, "tokenizer_kwargs": {"bpe_path": "few.txt.gz"}}
    path = write(tmp_path, config)
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        build_clip(path)
    assert str(error.value) == (
        f"The merges '{tmp_path / 'few.txt.gz'}' of the CLIP architecture '{path}' do not exist. Put them "
        "beside its file, or take text_cfg.tokenizer_kwargs.bpe_path out of it."
    )


def test_a_tower_with_another_number_of_tokens(tmp_path: Path, config: dict) -> None:
    config["text_cfg"]["vocab_size"] = 500
    path = write(tmp_path, config)
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        build_clip(path)
    assert str(error.value) == (
        f"The CLIP architecture '{path}' has text_cfg.vocab_size=500, and its tokenizer makes 49408 tokens. "
        "Write vocab_size=49408, or give it its own merges as text_cfg.tokenizer_kwargs.bpe_path."
    )
