"""Toyworld's CLIPs: pictures and captions belong together, towers are those of ovseg, runs resume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from helpers.toyworld_benchmarks import NoisyCorpus, find_scripts
from torch import nn

from ovseg.data.toyworld.captions import caption_words
from ovseg.models.clip_vit.backbone import clip_vit
from ovseg.models.clip_vit.last_blocks import ValuePath
from ovseg.models.clip_vit.proxy import ProxyAttention
from ovseg.models.common.clip import build_clip
from ovseg.models.dino.encoder import dino
from ovseg.models.fcclip.backbone import clip_convnext
from ovseg.weights.shipped import FOLDER

find_scripts()
import clip as script  # noqa: E402
import depthwise  # noqa: E402
from clip_pairs import kinds_and_phrases, look_at, make_batch, phrases_of_absent, window_within  # noqa: E402
from clip_towers import box_means, encode_captions, encode_pictures  # noqa: E402
from loop import fit  # noqa: E402
from words_bpe import BASE_TOKENS, learn_merges, write_merges  # noqa: E402

NOTHING = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)


@pytest.fixture(scope="module", params=["convnext", "vit"])
def clip(request) -> open_clip.CLIP:
    torch.manual_seed(0)
    made, _ = script.make_clip(request.param)
    return made.eval()


def test_the_shipped_tokenizer_makes_one_token_of_every_word() -> None:
    _, tokenizer = script.make_clip("vit")
    words = caption_words()
    assert [word for word in words if len(tokenizer.encode(word)) != 1] == []
    assert len({tokenizer.encode(word)[0] for word in words}) == len(words)
    assert len(tokenizer.encode("giraffe")) > 1
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1


def test_merges_are_learned_by_frequency_until_words_are_whole(tmp_path: Path) -> None:
    merges = learn_merges(["low", "lower", "slow"])
    assert merges[0] == ("l", "o")
    assert "".join(merges[1]) in ("low</w>", "slo")
    write_merges(tmp_path / "a.gz", merges)
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(tmp_path / "a.gz"))
    assert [len(tokenizer.encode(word)) for word in ("low", "lower", "slow", "lows")] == [1, 1, 1, 2]
    assert tokenizer.vocab_size == BASE_TOKENS + len(merges)


def test_captions_are_encoded_as_by_open_clip() -> None:
    torch.manual_seed(0)
    clip, tokenizer = script.make_clip("vit")
    captions = ["a photo of a red fish.", "lava", "a photo of a red fish."]
    assert torch.allclose(
        encode_captions(clip, tokenizer, captions), clip.encode_text(tokenizer(captions)), atol=1e-5
    )


def test_whole_pictures_are_encoded_as_by_open_clip(clip: open_clip.CLIP) -> None:
    pictures = torch.randn(2, 3, 224, 224)
    whole, _ = encode_pictures(clip, pictures, *NOTHING)
    assert torch.allclose(whole, clip.encode_image(pictures), atol=1e-5)


def test_boxes_are_pooled_where_ovseg_pools_masks(clip: open_clip.CLIP) -> None:
    pictures = torch.randn(2, 3, 64, 64)
    if hasattr(clip.visual, "trunk"):
        backbone = clip_convnext(architecture="toyworld_clip_convnext")
    else:
        value_path = ValuePath(residual=False, feed_forward=False)
        backbone = clip_vit(architecture="toyworld_clip_vit", last_block=value_path)
    backbone.clip.load_state_dict(clip.state_dict())
    dense = backbone(pictures).dense
    stride = 64 // dense.shape[-1]
    boxes = torch.tensor([[0.0, 0, stride, stride], [0, 32, 64, 64]])
    _, parts = encode_pictures(clip, pictures, boxes, torch.tensor([1, 0]))
    means = torch.stack([dense[1, :, 0, 0], dense[0, :, dense.shape[-2] // 2 :].mean((-2, -1))])
    assert torch.allclose(parts, backbone.project(means), atol=1e-5)


def test_boxes_are_pooled_from_sums_by_likeness_where_trident_sums_values() -> None:
    torch.manual_seed(0)
    clip, _ = script.make_clip("vit")
    pictures = torch.randn(2, 3, 64, 64)
    encoder = dino(architecture="toyworld_dino", pretrained=None)
    encoder.load_weights(FOLDER / "toyworld_dino.safetensors")
    backbone = clip_vit(architecture="toyworld_clip_vit", last_block=ProxyAttention(encoder=encoder))
    backbone.clip.load_state_dict(clip.state_dict())
    likeness = script.dino_likeness("cpu")
    boxes, owners = torch.tensor([[0.0, 0, 16, 16], [0, 32, 64, 64]]), torch.tensor([1, 0])
    _, parts = encode_pictures(clip, pictures, boxes, owners, likeness)
    # One picture at a time: the likeness is judged by its mean over what comes together.
    first, second = (backbone(picture).dense[0] for picture in pictures.split(1))
    means = torch.stack([second[:, 0, 0], first[:, 2:].mean((-2, -1))])
    assert torch.allclose(parts, backbone.project(means), atol=1e-5)
    _, alone = encode_pictures(clip, pictures, boxes, owners)
    assert not torch.allclose(parts, alone, atol=1e-2)


def test_cells_count_by_what_the_box_covers() -> None:
    features = torch.arange(4.0).view(1, 1, 2, 2)
    boxes = torch.tensor([[4.0, 0, 12, 16], [0, 0, 16, 2]])
    means = box_means(features, boxes, torch.zeros(2, dtype=torch.long), stride=8)
    assert means.flatten().tolist() == pytest.approx([1.5, 0.5])


def test_boxes_of_a_view_hold_their_things() -> None:
    corpus = NoisyCorpus(4, 320)
    for seed in range(8):
        view = look_at(corpus, 1, 256, np.random.RandomState(seed))
        (fish,) = [segment for segment in view.segments if segment.is_thing]
        left, top, right, bottom = fish.box
        inside = view.ids[top + 1 : bottom - 1, left + 1 : right - 1] == 3
        assert inside.all()
        assert inside.sum() > 0.9 * (view.ids == 3).sum()


def test_windows_lie_within() -> None:
    inside = np.zeros((32, 32), bool)
    inside[5:20, 3:9] = True
    for seed in range(8):
        left, top, right, bottom = window_within(inside, np.random.RandomState(seed))
        assert 24 <= left < right <= 72
        assert 40 <= top < bottom <= 160
        assert right - left == bottom - top >= 32
    assert window_within(inside[:8], np.random.RandomState(0)) is None


def test_every_box_and_crop_has_a_caption_of_its_class() -> None:
    batch = make_batch(
        NoisyCorpus(4, 320), np.random.RandomState(0), scenes=3, side=128, crops=2, crop_side=32
    )
    assert len(batch.names) == len(batch.captions) == len(batch.boxes) + 2
    assert len(batch.owners) == len(batch.boxes)
    assert len(batch.scene_captions) == 3
    words = {"blue fish": ["blue fish"], "sky": ["sky", "heavens"], "lava": ["lava", "magma"]}
    for name, caption in zip(batch.names, batch.captions, strict=True):
        assert any(word in caption for word in words[name])


def test_phrases_of_kinds_leave_out_what_they_look_like() -> None:
    names = ["striped red fish", "lava", "blue fish"]
    labels, phrases = kinds_and_phrases(names, np.random.RandomState(3))
    assert labels == [0, 1, 0]
    assert len(phrases) == 2
    assert "fish" in phrases[0]
    assert not {"striped", "red"}.intersection(phrases[0].split())


def test_texts_of_one_class_are_equally_right() -> None:
    texts = torch.eye(3)
    loss, hits = script.contrast(texts, texts, torch.tensor([0, 0, 1]), torch.tensor(0.0))
    assert loss.item() == pytest.approx(np.log(3))
    loss, hits = script.contrast(texts, texts[[1, 0, 2]], torch.tensor([0, 0, 1]), torch.tensor(50.0))
    # Half of the wanted probability has the logit 50, half has 0, in two of three rows.
    assert loss.item() == pytest.approx(2 / 3 * 25, rel=1e-3)
    assert hits == 1


def test_texts_of_absent_classes_are_wrong_for_all() -> None:
    texts, labels = torch.eye(3), torch.tensor([0, 1, 2])
    scale = torch.tensor(20.0)
    alone, hits = script.contrast(texts, texts, labels, scale)
    assert hits == 1
    harmless, hits = script.contrast(texts, texts, labels, scale, -texts)
    assert hits == 1
    assert harmless == pytest.approx(alone.item(), abs=1e-5)
    like, hits = script.contrast(texts, texts, labels, scale, texts[:1])
    # The first region cannot be told from an absent class, which costs it log 2 in one of the two directions.
    assert like.item() == pytest.approx(np.log(2) / 3 / 2, abs=1e-5)


def test_absent_classes_are_none_of_those_present() -> None:
    names = ["blue fish", "sky"]
    phrases = phrases_of_absent(names, 100, np.random.RandomState(0))
    assert len(phrases) == 58
    assert not any(phrase.endswith("blue fish") for phrase in phrases)
    assert len(phrases_of_absent(names, 7, np.random.RandomState(0))) == 7
    assert phrases_of_absent(names, 0, np.random.RandomState(0)) == []


def test_shrunken_boxes_lie_in_their_boxes() -> None:
    boxes = [(10.0, 20.0, 50.0, 40.0)] * 20
    small = script.shrink(boxes, (0.3, 0.9), np.random.RandomState(0))
    assert (small[:, :2] >= (10, 20)).all()
    assert (small[:, 2:] <= (50, 40)).all()
    shares = (small[:, 2] - small[:, 0]) / 40
    assert shares.min() >= 0.3
    assert shares.max() <= 0.9


def test_depthwise_weights_get_their_gradient() -> None:
    if depthwise._library() is None:
        pytest.skip("no C++ compiler")
    torch.manual_seed(0)
    convolution = nn.Conv2d(20, 20, 7, padding=3, groups=20).to(memory_format=torch.channels_last)
    x = torch.randn(2, 20, 9, 12).bfloat16().requires_grad_()
    y = torch.randn(2, 20, 9, 12).bfloat16()
    convolution(x.float()).backward(y.float())
    exact = [convolution.weight.grad.clone(), convolution.bias.grad.clone(), x.grad.clone()]
    convolution.zero_grad()
    x.grad = None
    depthwise.speed_up(convolution)
    with torch.autocast("cpu", torch.bfloat16):
        convolution(x).backward(y)
    for fast, slow in zip((convolution.weight.grad, convolution.bias.grad, x.grad), exact, strict=True):
        assert torch.allclose(fast.float(), slow.float(), rtol=0.02, atol=0.02 * float(slow.abs().max()))


def test_a_run_that_was_cut_off_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    small = script.Recipe(
        iterations=3, pictures=4, drawn_side=160, scenes=2, side=96, crops=2, crop_side=32, rate=1e-3,
        decay=0.1, shrink=(0.5, 0.9),
    )  # fmt: skip
    large = replace(small, iterations=1, side=128, absent=5, by_likeness=True)
    states = []
    for folder, stops in (("whole", (4,)), ("parts", (2, 4))):
        for stop in stops:
            corpus = NoisyCorpus(4, 160)
            trainer = script.Trainer("vit", [(small, corpus), (large, corpus)], "cpu")
            fit(trainer.step, trainer.parts(), iterations=stop, folder=tmp_path / folder, log_every=1)
        states.append(trainer.clip.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    logs = [(tmp_path / folder / "log.csv").read_text().splitlines() for folder in ("whole", "parts")]
    assert len(logs[0]) == 5
    losses = [[row.split(",")[2] for row in log] for log in logs]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("tower", ["convnext", "vit"])
def test_exported_files_are_read_by_ovseg(tmp_path: Path, tower: str) -> None:
    clip, _ = build_clip(f"toyworld_clip_{tower}")
    script.export(clip, tmp_path / "clip.safetensors")
    if tower == "convnext":
        backbone = clip_convnext(architecture="toyworld_clip_convnext")
    else:
        backbone = clip_vit(architecture="toyworld_clip_vit", last_block=ValuePath())
    backbone.load_weights(tmp_path / "clip.safetensors")
    loaded = backbone.clip.state_dict()
    assert all(torch.equal(value.half().float(), loaded[key]) for key, value in clip.state_dict().items())
