"""FC-CLIP against the official code, stage by stage, on seeded weights and drawn pictures.

Tolerances are some ten times what an independent implementation showed; decoder logits are held at 2e-4,
since a looser bound misses a wrong logit scale.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.scene import scene
from helpers.tiny_fcclip import Golden, golden_method, read_golden
from torch import Tensor

from ovseg.models.common.linear import Backend, linear_backend
from ovseg.models.common.merge import Geometry, MergeRules, Views, merge_masks
from ovseg.models.common.preprocess import normalise_and_pad
from ovseg.models.common.stopwatch import Stopwatch
from ovseg.models.fcclip.method import FCCLIP, NamedMasks
from ovseg.models.fcclip.pixel_decoder import DecodedPixels
from ovseg.types import TASKS, Features, MaskProposals

PICTURES = {
    "A": (scene(192, 256, 3),),
    "B": (scene(150, 200, 4),),
    "AB": (scene(192, 256, 3), scene(150, 200, 4)),
}
SIZES = {"A": ((192, 256),), "B": ((225, 300),), "AB": ((192, 256), (225, 300))}


class Stages:
    """What the method makes of the golden inputs, stage by stage; each stage of each is computed once."""

    def __init__(self, name: str, backend: Backend) -> None:
        self.golden = read_golden(name)
        self.method = golden_method(name)
        self.backend = backend
        with self.computing():
            self.text = self.method.embed(self.method.backbone, self.golden.vocabulary)
        self._known: dict[tuple[str, str], Any] = {}

    @contextmanager
    def computing(self) -> Iterator[None]:
        with linear_backend(self.backend), torch.no_grad():
            yield

    def _once(self, stage: str, tag: str, compute: Callable[[], Any]) -> Any:
        if (stage, tag) not in self._known:
            with self.computing():
                self._known[stage, tag] = compute()
        return self._known[stage, tag]

    def features(self, tag: str) -> Features:
        return self._once("features", tag, lambda: self.method.backbone(network_input(self.method, tag)))

    def pixels(self, tag: str) -> DecodedPixels:
        decoder = self.method.mask_generator.pixel_decoder
        return self._once("pixels", tag, lambda: decoder(self.features(tag).pyramid))

    def layers(self, tag: str) -> MaskProposals:
        decoder = self.method.mask_generator.mask_decoder
        return self._once("layers", tag, lambda: decoder(self.pixels(tag), keep_earlier=True))

    def named(self, tag: str) -> NamedMasks:
        """By the method's own path, not by the stages above."""
        watch = Stopwatch(torch.device("cpu"))
        return self._once(
            "named", tag, lambda: self.method.name_masks(network_input(self.method, tag), self.text, watch)
        )


@pytest.fixture(scope="module", params=["tiny", "tiny_rn"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["plain", "onednn"])
def stages(name: str, request: pytest.FixtureRequest) -> Stages:
    return Stages(name, request.param)


@pytest.fixture(autouse=True)
def _computing(stages: Stages) -> Iterator[None]:
    with stages.computing():
        yield


def network_input(method: FCCLIP, tag: str) -> Tensor:
    """The pictures, normalised and zero-padded to one size, as the official code batches them."""
    inputs = [normalise_and_pad(torch.from_numpy(p)[None], method.backbone.spec, 32) for p in PICTURES[tag]]
    height, width = (max(x.shape[axis] for x in inputs) for axis in (-2, -1))
    return torch.cat([F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in inputs])


def views(stages: Stages, tag: str, index: int, **options: object) -> Views:
    named = stages.named(tag)
    grid = named.proposals.logits.shape[-2:]
    geometry = Geometry(
        network=(grid[0] * 4, grid[1] * 4), resized=PICTURES[tag][index].shape[:2], picture=SIZES[tag][index]
    )
    things = torch.tensor([entry.is_thing for entry in stages.golden.vocabulary.classes])
    settings = {"tasks": TASKS, "rules": MergeRules(), "keep_scores": True} | options
    return merge_masks(named.class_logits[index], named.proposals.logits[index], things, geometry, **settings)


def test_text_rows_and_seen_classes(stages: Stages) -> None:
    rows, _ = stages.method.classifier.with_void(stages.text)
    assert stages.golden.difference("text_classifier_with_void", rows) < 1e-6
    assert stages.text.is_seen.int().tolist() == stages.golden.facts["category_overlapping_mask"]


@pytest.mark.parametrize("tag", ["A", "B"])
def test_backbone(stages: Stages, tag: str) -> None:
    features = stages.features(tag)
    for stride, name in ((4, "res2"), (8, "res3"), (16, "res4"), (32, "res5")):
        assert stages.golden.difference(f"{tag}/feat.{name}", features.pyramid[stride]) < 2e-5
    assert stages.golden.difference(f"{tag}/feat.clip_vis_dense", features.dense) < 2e-5


@pytest.mark.parametrize("tag", ["A", "B"])
def test_pixel_decoder(stages: Stages, tag: str) -> None:
    pixels = stages.pixels(tag)
    assert stages.golden.difference(f"{tag}/pixel.mask_features", pixels.mask_features) < 5e-5
    assert stages.golden.difference(f"{tag}/pixel.transformer_encoder_features", pixels.levels[0]) < 5e-5
    for level in range(3):
        assert stages.golden.difference(f"{tag}/pixel.ms{level}", pixels.levels[level]) < 5e-5


@pytest.mark.parametrize("tag", ["A", "B"])
def test_every_decoder_layer(stages: Stages, tag: str) -> None:
    last = stages.layers(tag)
    assert len(last.earlier) == 3
    rows, class_of_row = stages.method.classifier.with_void(stages.text)
    for layer, proposals in enumerate((*last.earlier, last)):
        logits = stages.method.classifier.in_vocabulary(proposals, rows, class_of_row)
        assert stages.golden.difference(f"{tag}/dec{layer}.pred_logits", logits) < 2e-4
        assert stages.golden.difference(f"{tag}/dec{layer}.pred_masks", proposals.logits) < 1e-3


@pytest.mark.parametrize("tag", ["A", "B", "AB"])
def test_classifiers(stages: Stages, tag: str) -> None:
    features, proposals = stages.features(tag), stages.named(tag).proposals
    masks = F.interpolate(proposals.logits, size=features.dense.shape[-2:], mode="bilinear")
    evidence = stages.method.classifier.evidence(
        stages.method.backbone, features, stages.text, proposals, masks
    )
    assert stages.golden.difference(f"{tag}/dec3.pred_logits", evidence.in_vocabulary) < 2e-4
    assert stages.golden.difference(f"{tag}/out_vocab.logits_with_void", evidence.out_of_vocabulary) < 1e-4
    if f"{tag}/out_vocab.pooled_clip_feature" in stages.golden.arrays:
        pooled = stages.method.backbone.pool(features, masks)
        assert stages.golden.difference(f"{tag}/out_vocab.pooled_clip_feature", pooled) < 1e-4
    empty = stages.golden.facts[f"queries_with_empty_pooling_mask_{tag}"]
    assert [(~(m > 0).flatten(1).any(-1)).nonzero()[:, 0].tolist() for m in masks] == empty


@pytest.mark.parametrize(("tag", "index"), [("A", 0), ("B", 0), ("AB", 0), ("AB", 1)])
def test_outputs(stages: Stages, tag: str, index: int) -> None:
    class_logits = stages.named(tag).class_logits[index]
    key = f"{tag}/img{index}."
    probabilities = np.exp(stages.golden.arrays[key + "mask_cls_results"])
    assert np.abs(class_logits.exp().numpy() - probabilities).max() < 2e-5
    result = views(stages, tag, index)
    assert result.semantic_scores is not None
    assert stages.golden.difference(key + "sem_seg", result.semantic_scores) < 5e-5
    assert torch.equal(result.semantic, result.semantic_scores.argmax(0).int())
    scores_first = views(stages, tag, index, tasks=("semantic",), semantic_resize="scores")
    assert stages.golden.difference(key + "sem_seg_semantic_only_path", scores_first.semantic_scores) < 5e-5
    _check_instances(stages.golden, key, result)


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
    stages: Stages,
    tag: str,
    index: int,
    overlap: float,
    object_mask: float,
) -> None:
    rules = MergeRules(object_mask_threshold=object_mask, overlap_threshold=overlap)
    panoptic = views(stages, tag, index, tasks=("panoptic",), rules=rules).panoptic
    assert panoptic is not None
    if (overlap, object_mask) == (0.8, 0.0):
        expected = stages.golden.arrays[f"{tag}/img{index}.panoptic_seg"]
        segments = stages.golden.facts[f"segments_info_{tag}"][index]
    else:
        name = f"overlap{overlap}_objmask{object_mask}"
        expected = stages.golden.arrays[f"{tag}/img{index}.panoptic_seg@{name}"]
        segments = stages.golden.facts[f"segments_info_other_thresholds_{tag}"][f"img{index}@{name}"]
    assert (panoptic.ids.numpy() != expected).mean() <= 1e-4
    found = [{"id": s.id, "isthing": s.is_thing, "category_id": s.label} for s in panoptic.segments]
    assert found == segments
    areas = torch.bincount(panoptic.ids.flatten(), minlength=len(segments) + 1)[1:].tolist()
    assert [segment.area for segment in panoptic.segments] == areas


def test_predict_is_the_same_path(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """`predict` on a picture that needs no resizing gives what the stages give."""
    expected = views(stages, "A", 0)
    monkeypatch.setattr(stages.method, "short_side", 192)
    monkeypatch.setattr(stages.method, "long_side", 256)
    prediction = stages.method.predict(PICTURES["A"][0], stages.golden.vocabulary)
    assert torch.equal(prediction.semantic, expected.semantic)
    assert torch.equal(prediction.panoptic.ids, expected.panoptic.ids)
    assert torch.equal(prediction.instances.masks, expected.instances.masks)
    assert set(prediction.seconds) >= {"text", "backbone", "mask_generator", "classifier", "outputs"}


def test_a_batch_gives_what_single_pictures_give(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.method, "short_side", 96)
    monkeypatch.setattr(stages.method, "long_side", 128)
    pictures = [scene(96, 128, 1), scene(96, 128, 2), scene(128, 96, 3)]
    together = stages.method.predict_batch(pictures, stages.golden.vocabulary, tasks=TASKS)
    for picture, batched in zip(pictures, together, strict=True):
        alone = stages.method.predict(picture, stages.golden.vocabulary)
        assert (alone.semantic != batched.semantic).float().mean() < 1e-3
        assert (alone.panoptic.ids != batched.panoptic.ids).float().mean() < 1e-3
        assert torch.allclose(alone.instances.scores, batched.instances.scores, atol=1e-4)
