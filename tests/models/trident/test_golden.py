"""Trident against the official code, stage by stage, on seeded weights and drawn pictures.

The methods are those of the shipped YAML, loaded part by part. Each stage is fed by the stages before it, but
for the mask decoder, which is also fed with the official prompts. Tolerances are what other CPU kernels under
the official code itself need.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.golden_trident import golden_trident
from helpers.tiny_trident import CASES, WINDOW, read_golden
from torch import Tensor

from ovseg.models.common.pixels import PixelScores, enlarge
from ovseg.models.common.preprocess import resize_short_side
from ovseg.models.common.windows import crop, fit, hits, windows
from ovseg.models.trident.drawing import Drawn, draw, failed_pixels
from ovseg.models.trident.inputs import halved, sam_picture
from ovseg.models.trident.naming import join_alike, on_grid
from ovseg.models.trident.prompts import region_prompts
from ovseg.models.trident.refinement import Labelled, class_masks, refine
from ovseg.types import Features, MaskPrompts, MaskProposals, TextEmbeddings

REFINED = [name for name in CASES if name != "voc_pamr"]
FITTED = 2e-6
"""Of normalised colours, which are below 3: a few roundings."""


class Stages:
    """What the method makes of a golden picture, stage by stage; each is computed once."""

    def __init__(self, name: str) -> None:
        self.golden = read_golden(name)
        self.method = golden_trident(name)
        self.picture = self.golden.picture
        self.size = self.picture.shape[:2]
        self.shown = sam_picture(self.picture, self.method.patch)
        self._known: dict[str, Any] = {}

    def _once(self, stage: str, compute: Callable[[], Any]) -> Any:
        if stage not in self._known:
            with torch.no_grad():
                self._known[stage] = compute()
        return self._known[stage]

    def text(self) -> TextEmbeddings:
        return self._once("text", lambda: self.method.embed(self.method.backbone, self.golden.vocabulary))

    def resized(self) -> Tensor:
        return self._once("resized", lambda: self.method.resized(self.picture))

    def fitted(self) -> Tensor:
        return fit(self.resized(), patch=self.method.patch, window=self.method.window)

    def spliced(self) -> Tensor:
        return self._once("spliced", lambda: self.method.spliced(self.resized()))

    def whole(self) -> Features:
        return self._once("whole", lambda: self.method.mask_generator.encode(self.shown))

    def looks(self) -> list[Features]:
        if not self.method.halves:
            return [self.whole()]
        encode = self.method.mask_generator.encode
        return self._once("looks", lambda: [encode(half) for half in halved(self.shown)])

    def joined(self) -> Tensor:
        options = {"cos_fac": self.method.cos_fac, "refine_neg_cos": self.method.refine_neg_cos}
        return self._once("joined", lambda: join_alike(self.spliced(), self.looks(), **options))

    def logits(self) -> Tensor:
        features = Features(pyramid={}, dense=self.joined(), image_size=self.shown.shape[:2])
        method = self.method
        return self._once("logits", lambda: method.classifier(method.backbone, features, self.text())[0])

    def scores(self) -> PixelScores:
        given = (self.logits(), self.text(), self.resized(), self.size)
        return self._once("scores", lambda: self.method.scores(*given))

    def probabilities(self) -> Tensor:
        return torch.stack([self.scores().of_class(label) for label in range(len(self.golden.vocabulary))])

    def coarse(self) -> Labelled:
        return self._once("coarse", lambda: self.method.coarse(self.scores()))

    def prompts(self) -> MaskPrompts:
        rules = self.method.rules
        return region_prompts(
            self.drawn().regions,
            self.size,
            self.method.mask_generator,
            coarse_threshold=rules.coarse_threshold,
            mask_prompt_scale=rules.mask_prompt_scale,
        )

    def official_masks(self) -> MaskProposals:
        """Of the official points and boxes; the mask prompts are ours, since the golden ones are thinned."""
        arrays = self.golden.arrays
        points, boxes = (
            torch.from_numpy(np.concatenate([arrays[f"prompt{call}_{what}"] for call in range(self.calls())]))
            for what in ("points", "boxes")
        )
        prompts = MaskPrompts(points[:, 0], boxes, self.prompts().masks)
        return self._once("official", lambda: self.method.mask_generator(self.whole(), prompts))

    def calls(self) -> int:
        """How often the official code called the mask decoder: once for each class."""
        return sum(key.startswith("prompt") and key.endswith("_boxes") for key in self.golden.arrays)

    def drawn(self) -> Drawn:
        method, shown = self.method, self.shown.shape[:2]
        given = (self.coarse(), self.scores(), method.mask_generator, self.whole(), shown, method.rules)
        return self._once("drawn", lambda: draw(*given))


@cache
def stages_of(name: str) -> Stages:
    return Stages(name)


@pytest.fixture(params=CASES)
def stages(request: pytest.FixtureRequest) -> Stages:
    return stages_of(request.param)


@pytest.fixture(params=REFINED)
def refined(request: pytest.FixtureRequest) -> Stages:
    return stages_of(request.param)


def unequal(stages: Stages, key: str, labels: Tensor) -> float:
    """Share of pixels."""
    return float((labels.numpy() != stages.golden.arrays[key]).mean())


def test_text(stages: Stages) -> None:
    assert stages.golden.difference("query_features", stages.text().rows) < 1e-6
    assert stages.text().class_of_row.tolist() == stages.golden.arrays["query_idx"].tolist()


def test_inputs(stages: Stages) -> None:
    """Resizing is equal to the bit, through OpenCV; fitting rounds by the number of threads."""
    golden, method = stages.golden, stages.method
    resized = resize_short_side(stages.picture, method.short_side, method.long_side, by="opencv")
    assert np.array_equal(resized, golden.resized)
    fitted = stages.fitted()
    assert list(fitted.shape[-2:]) == golden.arrays["processed_hw"].tolist()
    assert golden.difference("processed_strided", fitted[..., ::8, ::8]) < FITTED
    assert list(stages.shown.shape[:2]) == golden.arrays["sam_img_hw"].tolist()


def test_windows(stages: Stages) -> None:
    golden, fitted, patch = stages.golden, stages.fitted(), stages.method.patch
    size = (fitted.shape[-2], fitted.shape[-1])
    places = windows(size, window=WINDOW, stride=stages.method.stride)
    tokens = [[side // patch for side in (w.top, w.left, w.bottom, w.right)] for w in places]
    assert tokens == golden.arrays["windows_y1x1y2x2_tokens"].tolist()
    assert golden.difference("window0_strided", crop(fitted, places)[0, :, ::8, ::8]) < FITTED
    assert golden.difference("count_mat", hits(places, size=size, patch=patch)) == 0


def test_spliced_features(stages: Stages) -> None:
    """One affinity that crosses 0 moves single tokens by 1e-2."""
    differences = stages.golden.differences("spliced_map", stages.spliced())
    assert differences.max() < 2e-2
    assert differences.mean() < 1e-6


def test_features_on_the_grid_of_sam(stages: Stages) -> None:
    rows, columns = stages.golden.arrays["sam_valid_hw"].tolist()
    looks, spliced = stages.looks(), stages.spliced()
    valid = [look.last_attention.valid for look in looks]
    assert valid == [(rows, columns // len(looks))] * len(looks)
    middle = spliced.shape[-1] // len(looks)
    parts = [spliced] if len(looks) == 1 else [spliced[..., :middle], spliced[..., middle:]]
    whole = torch.cat([on_grid(part, valid[0]) for part in parts], dim=-1)
    differences = stages.golden.differences("spliced_on_sam_grid", whole)
    assert differences.max() < 2e-2
    assert differences.mean() < 1e-6


def test_joined_features(stages: Stages) -> None:
    """One cosine that crosses its threshold moves single tokens; 6e-5 was seen."""
    tokens = stages.joined().flatten(2).permute(2, 0, 1)
    differences = stages.golden.differences("aggregated_LBD", tokens)
    assert differences.max() < 5e-4
    assert differences.mean() < 2e-6
    backbone = stages.method.backbone
    with torch.no_grad():
        projected = F.normalize(backbone.project(tokens.transpose(0, 1)), dim=-1)
    assert stages.golden.difference("clip_features", projected) < 3e-4


def test_logits_and_probabilities(stages: Stages) -> None:
    full = enlarge(stages.logits(), stages.size)
    assert stages.golden.difference("logits_full_stride4", full[:, ::4, ::4]) < 5e-5
    assert stages.golden.difference("probs_stride2", stages.probabilities()[:, ::2, ::2]) < 5e-5


def test_coarse_labels(stages: Stages) -> None:
    assert unequal(stages, "coarse_pred", stages.coarse().labels) <= 5e-5


def test_pamr() -> None:
    stages = stages_of("voc_pamr")
    probabilities = stages.probabilities()[:, ::4, ::4]
    assert stages.golden.difference("pamr_final_probs_stride4", probabilities) < 5e-5
    assert unequal(stages, "final_pred", stages.coarse().labels) <= 5e-5


def unequal_points(stages: Stages) -> np.ndarray:
    """Per region; probabilities that were enlarged have plateaus, whose first maximum is up to rounding."""
    points = stages.drawn().regions.points.numpy()
    return (points != stages.golden.arrays["region_points_xy_half"]).any(1)


def test_regions(refined: Stages) -> None:
    regions, arrays = refined.drawn().regions, refined.golden.arrays
    assert regions.labels.tolist() == arrays["region_classes"].tolist()
    assert np.abs(regions.areas.numpy() - arrays["region_area_half"]).max() <= 4
    assert unequal_points(refined).sum() <= 1


def prompts_of_calls(stages: Stages) -> list[slice]:
    """The official calls, one for each class that has regions."""
    counts = stages.drawn().regions.labels.bincount()
    ends = counts[counts > 0].cumsum(0).tolist()
    assert len(ends) == stages.calls()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def test_prompts(refined: Stages) -> None:
    golden, ours = refined.golden, refined.prompts()
    tied = unequal_points(refined)
    for call, some in enumerate(prompts_of_calls(refined)):
        points = golden.differences(f"prompt{call}_points", ours.points[some][:, None])
        assert points[~tied[some]].max(initial=0) < 1e-3
        assert golden.difference(f"prompt{call}_boxes", ours.boxes[some]) < 1e-3
        for mask in ours.masks[some]:
            assert golden.difference(f"prompt{call}_mask", mask[None]) < 1e-6
        embedded = refined.method.mask_generator.embed_prompts(None, None, ours.masks[some][:1])[1][0]
        # The norm over so faint a mask magnifies the rounding of its values.
        assert golden.difference(f"prompt{call}_dense_emb", embedded[:, ::4, ::4]) < 5e-4


def test_masks_of_the_official_prompts(refined: Stages) -> None:
    golden, proposals = refined.golden, refined.official_masks()
    for call, some in enumerate(prompts_of_calls(refined)):
        assert golden.difference(f"prompt{call}_iou", proposals.scores[0, some, None]) < 1e-4
        logits = proposals.logits[0, some]
        assert golden.difference(f"prompt{call}_lowres", logits[:, None, ::4, ::4]) < 1e-4
        masks = refined.method.mask_generator.enlarge(logits, refined.whole(), refined.shown.shape[:2]) > 0
        assert golden.differences(f"prompt{call}_mask_area", masks.sum((1, 2))).max() <= 20


def test_kept_masks(refined: Stages) -> None:
    drawn, arrays = refined.drawn(), refined.golden.arrays
    quality = drawn.quality[drawn.kept].numpy()
    assert quality.shape == arrays["valid_scores"][:, 0].shape
    tied = unequal_points(refined)[drawn.kept.numpy()]
    assert np.abs(quality - arrays["valid_scores"][:, 0])[~tied].max() < 1e-4
    assert np.array_equal(2 * drawn.regions.boxes[drawn.kept].numpy(), arrays["valid_boxes_full"])


def test_final_labels(refined: Stages) -> None:
    assert unequal(refined, "final_pred", refined.drawn().found.labels) <= 2e-3


def test_final_labels_and_scores_of_the_official_prompts(refined: Stages) -> None:
    """The official scores also hold the dropped regions' probabilities, which change no label."""
    proposals, regions = refined.official_masks(), refined.drawn().regions
    kept = proposals.scores[0] > refined.method.rules.iou_threshold
    masks = list(
        class_masks(
            refined.method.mask_generator,
            refined.whole(),
            proposals,
            regions,
            kept,
            seen=refined.shown.shape[:2],
            picture=refined.size,
        )
    )
    found = refine(refined.coarse(), masks, refined.scores().of_class)
    assert unequal(refined, "final_pred", found.labels) <= 5e-5
    likely = refined.probabilities()
    scores = likely * failed_pixels(regions, kept, refined.size)
    for mask in masks:
        scores[mask.label] = scores[mask.label].maximum(mask.scores(likely[mask.label]))
    differences = refined.golden.differences("final_probs_stride4", scores[:, ::4, ::4])
    assert (differences > 5e-5).mean() <= 1e-3  # masks end a pixel earlier or later


@pytest.mark.parametrize("name", ["voc", "city"])
def test_predict_is_the_same_path(name: str) -> None:
    stages = stages_of(name)
    prediction = stages.method.predict(stages.picture, stages.golden.vocabulary, tasks=["semantic"])
    assert unequal(stages, "final_pred", prediction.semantic) <= 2e-3
    found = stages.drawn().found if stages.method.refine else stages.coarse()
    assert torch.equal(prediction.semantic, found.labels)
    assert prediction.panoptic is None
