"""FC-CLIP against the official code, stage by stage, on seeded weights and drawn pictures.

Tolerances are some ten times what an independent implementation showed; decoder logits are held at 2e-4,
since a looser bound misses a wrong logit scale.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.scene import scene
from helpers.tiny_fcclip import Golden
from torch import Tensor

from ovseg.models.common.linear import linear_backend
from ovseg.models.common.merge import Geometry, MergeRules, Views, merge_masks
from ovseg.models.common.preprocess import normalise_and_pad
from ovseg.models.common.stopwatch import Stopwatch
from ovseg.models.fcclip.method import FCCLIP, NamedMasks
from ovseg.types import TASKS, TextEmbeddings

PICTURES = {
    "A": (scene(192, 256, 3),),
    "B": (scene(150, 200, 4),),
    "AB": (scene(192, 256, 3), scene(150, 200, 4)),
}
SIZES = {"A": ((192, 256),), "B": ((225, 300),), "AB": ((192, 256), (225, 300))}


@pytest.fixture(scope="module", params=["tiny", "tiny_rn"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def method(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> FCCLIP:
    return golden.load(tmp_path_factory.mktemp(golden.name))


@pytest.fixture(scope="module")
def text(golden: Golden, method: FCCLIP) -> TextEmbeddings:
    return method.embed(method.backbone, golden.vocabulary)


@pytest.fixture(scope="module", params=["plain", "onednn"], autouse=True)
def _each_linear_backend(request: pytest.FixtureRequest):
    with linear_backend(request.param), torch.no_grad():
        yield


def network_input(method: FCCLIP, tag: str) -> Tensor:
    """The pictures, normalised and zero-padded to one size, as the official code batches them."""
    inputs = [normalise_and_pad(torch.from_numpy(p)[None], method.backbone.spec, 32) for p in PICTURES[tag]]
    height, width = (max(x.shape[axis] for x in inputs) for axis in (-2, -1))
    return torch.cat([F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in inputs])


def run(method: FCCLIP, text: TextEmbeddings, tag: str) -> NamedMasks:
    return method.name_masks(network_input(method, tag), text, Stopwatch(torch.device("cpu")))


def views(golden: Golden, named: NamedMasks, tag: str, index: int, **options: object) -> Views:
    grid = named.proposals.logits.shape[-2:]
    geometry = Geometry(
        network=(grid[0] * 4, grid[1] * 4), resized=PICTURES[tag][index].shape[:2], picture=SIZES[tag][index]
    )
    things = torch.tensor([entry.is_thing for entry in golden.vocabulary.classes])
    settings = {"tasks": TASKS, "rules": MergeRules(), "keep_scores": True} | options
    return merge_masks(named.class_logits[index], named.proposals.logits[index], things, geometry, **settings)


def test_text_rows_and_seen_classes(golden: Golden, method: FCCLIP, text: TextEmbeddings) -> None:
    rows, _ = method.classifier.with_void(text)
    assert golden.difference("text_classifier_with_void", rows) < 1e-6
    assert text.is_seen.int().tolist() == golden.facts["category_overlapping_mask"]


@pytest.mark.parametrize("tag", ["A", "B"])
def test_backbone(golden: Golden, method: FCCLIP, tag: str) -> None:
    features = method.backbone(network_input(method, tag))
    for stride, name in ((4, "res2"), (8, "res3"), (16, "res4"), (32, "res5")):
        assert golden.difference(f"{tag}/feat.{name}", features.pyramid[stride]) < 2e-5
    assert golden.difference(f"{tag}/feat.clip_vis_dense", features.dense) < 2e-5


@pytest.mark.parametrize("tag", ["A", "B"])
def test_pixel_decoder(golden: Golden, method: FCCLIP, tag: str) -> None:
    pixels = method.mask_generator.pixel_decoder(method.backbone(network_input(method, tag)).pyramid)
    assert golden.difference(f"{tag}/pixel.mask_features", pixels.mask_features) < 5e-5
    assert golden.difference(f"{tag}/pixel.transformer_encoder_features", pixels.levels[0]) < 5e-5
    for level in range(3):
        assert golden.difference(f"{tag}/pixel.ms{level}", pixels.levels[level]) < 5e-5


@pytest.mark.parametrize("tag", ["A", "B"])
def test_every_decoder_layer(golden: Golden, method: FCCLIP, text: TextEmbeddings, tag: str) -> None:
    generator = method.mask_generator
    pixels = generator.pixel_decoder(method.backbone(network_input(method, tag)).pyramid)
    last = generator.mask_decoder(pixels, keep_earlier=True)
    assert len(last.earlier) == 3
    rows, class_of_row = method.classifier.with_void(text)
    for layer, proposals in enumerate((*last.earlier, last)):
        logits = method.classifier.in_vocabulary(proposals, rows, class_of_row)
        assert golden.difference(f"{tag}/dec{layer}.pred_logits", logits) < 2e-4
        assert golden.difference(f"{tag}/dec{layer}.pred_masks", proposals.logits) < 1e-3


@pytest.mark.parametrize("tag", ["A", "B", "AB"])
def test_classifiers(golden: Golden, method: FCCLIP, text: TextEmbeddings, tag: str) -> None:
    features = method.backbone(network_input(method, tag))
    proposals = method.mask_generator(features)
    masks = F.interpolate(proposals.logits, size=features.dense.shape[-2:], mode="bilinear")
    evidence = method.classifier.evidence(method.backbone, features, text, proposals, masks)
    assert golden.difference(f"{tag}/dec3.pred_logits", evidence.in_vocabulary) < 2e-4
    assert golden.difference(f"{tag}/out_vocab.logits_with_void", evidence.out_of_vocabulary) < 1e-4
    if f"{tag}/out_vocab.pooled_clip_feature" in golden.arrays:
        pooled = method.backbone.pool(features, masks)
        assert golden.difference(f"{tag}/out_vocab.pooled_clip_feature", pooled) < 1e-4
    empty = golden.facts[f"queries_with_empty_pooling_mask_{tag}"]
    assert [(~(m > 0).flatten(1).any(-1)).nonzero()[:, 0].tolist() for m in masks] == empty


@pytest.mark.parametrize(("tag", "index"), [("A", 0), ("B", 0), ("AB", 0), ("AB", 1)])
def test_outputs(golden: Golden, method: FCCLIP, text: TextEmbeddings, tag: str, index: int) -> None:
    named = run(method, text, tag)
    key = f"{tag}/img{index}."
    probabilities = np.exp(golden.arrays[key + "mask_cls_results"])
    assert np.abs(named.class_logits[index].exp().numpy() - probabilities).max() < 2e-5
    result = views(golden, named, tag, index)
    assert result.semantic_scores is not None
    assert golden.difference(key + "sem_seg", result.semantic_scores) < 5e-5
    assert torch.equal(result.semantic, result.semantic_scores.argmax(0).int())
    scores_first = views(golden, named, tag, index, tasks=("semantic",), semantic_resize="scores")
    assert golden.difference(key + "sem_seg_semantic_only_path", scores_first.semantic_scores) < 5e-5
    _check_instances(golden, key, result)


def _check_instances(golden: Golden, key: str, result: Views) -> None:
    """The official order is that of an unsorted top-k; ours is by falling score."""
    expected_scores, expected_labels = (golden.arrays[key + name] for name in ("inst_scores", "inst_classes"))
    count, height, width = golden.arrays[key + "inst_masks_shape"]
    bits = np.unpackbits(golden.arrays[key + "inst_masks_packed"])[: count * height * width]
    expected_masks = bits.reshape(count, height, width).astype(bool)
    assert result.instances is not None
    assert len(result.instances.scores) == count
    order = np.lexsort((expected_masks.sum((1, 2)), expected_labels, -expected_scores.round(4)))
    masks = result.instances.masks.numpy()
    scores, labels = result.instances.scores.numpy(), result.instances.labels.numpy()
    ours = np.lexsort((masks.sum((1, 2)), labels, -scores.round(4)))
    assert np.abs(scores[ours] - expected_scores[order]).max() < 2e-4
    assert np.array_equal(labels[ours], expected_labels[order])
    assert (masks[ours] != expected_masks[order]).mean() < 1e-5


@pytest.mark.parametrize(("tag", "index"), [("A", 0), ("B", 0), ("AB", 0), ("AB", 1)])
@pytest.mark.parametrize(("overlap", "object_mask"), [(0.8, 0.0), (0.0, 0.0), (0.3, 0.0), (0.8, 0.4)])
def test_panoptic(
    golden: Golden,
    method: FCCLIP,
    text: TextEmbeddings,
    tag: str,
    index: int,
    overlap: float,
    object_mask: float,
) -> None:
    named = run(method, text, tag)
    rules = MergeRules(object_mask_threshold=object_mask, overlap_threshold=overlap)
    panoptic = views(golden, named, tag, index, tasks=("panoptic",), rules=rules).panoptic
    assert panoptic is not None
    if (overlap, object_mask) == (0.8, 0.0):
        expected = golden.arrays[f"{tag}/img{index}.panoptic_seg"]
        segments = golden.facts[f"segments_info_{tag}"][index]
    else:
        name = f"overlap{overlap}_objmask{object_mask}"
        expected = golden.arrays[f"{tag}/img{index}.panoptic_seg@{name}"]
        segments = golden.facts[f"segments_info_other_thresholds_{tag}"][f"img{index}@{name}"]
    assert (panoptic.ids.numpy() != expected).mean() <= 1e-4
    found = [{"id": s.id, "isthing": s.is_thing, "category_id": s.label} for s in panoptic.segments]
    assert found == segments
    areas = torch.bincount(panoptic.ids.flatten(), minlength=len(segments) + 1)[1:].tolist()
    assert [segment.area for segment in panoptic.segments] == areas


def test_predict_is_the_same_path(golden: Golden, method: FCCLIP, text: TextEmbeddings) -> None:
    """`predict` on a picture that needs no resizing gives what the stages give."""
    named = run(method, text, "A")
    expected = views(golden, named, "A", 0)
    method.short_side, method.long_side = 192, 256
    prediction = method.predict(PICTURES["A"][0], golden.vocabulary)
    assert torch.equal(prediction.semantic, expected.semantic)
    assert torch.equal(prediction.panoptic.ids, expected.panoptic.ids)
    assert torch.equal(prediction.instances.masks, expected.instances.masks)
    assert set(prediction.seconds) >= {"text", "backbone", "mask_generator", "classifier", "outputs"}


def test_a_batch_gives_what_single_pictures_give(golden: Golden, method: FCCLIP, tmp_path: Path) -> None:
    method.short_side, method.long_side = 96, 128
    pictures = [scene(96, 128, 1), scene(96, 128, 2), scene(128, 96, 3)]
    together = method.predict_batch(pictures, golden.vocabulary, tasks=TASKS)
    for picture, batched in zip(pictures, together, strict=True):
        alone = method.predict(picture, golden.vocabulary)
        assert (alone.semantic != batched.semantic).float().mean() < 1e-3
        assert (alone.panoptic.ids != batched.panoptic.ids).float().mean() < 1e-3
        assert torch.allclose(alone.instances.scores, batched.instances.scores, atol=1e-4)
