"""From coarse classes to drawn ones: regions, prompts, masks, labels.

Source: Trident (arXiv 2411.09219), section 3.4; `seg_utils/seg_refine.py`.

Letters: h w the picture, y x the generator's grid, n regions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ovseg.interfaces import PromptableMaskGenerator
from ovseg.models.common.pixels import PixelScores
from ovseg.models.trident.prompts import region_prompts
from ovseg.models.trident.refinement import Labelled, at_picture, class_masks, refine
from ovseg.models.trident.regions import Regions, split_regions
from ovseg.types import NOTHING, Features, MaskProposals


@dataclass(frozen=True)
class DrawingRules:
    """Thresholds; what they mean is said where the method has them as arguments."""

    coarse_threshold: float
    minimal_area: int
    mask_prompt_scale: float
    iou_threshold: float
    failed_may_win: bool


@dataclass(frozen=True)
class Drawn:
    """The label map of a picture, and the regions that it was drawn by.

    Attributes:
        found: the label map.
        regions: of the coarse classes.
        quality: of each region's mask, as the generator predicts it.
        kept: the regions whose masks count.
        masks: of each region, small.
    """

    found: Labelled
    regions: Regions
    quality: Float[Tensor, " n"]
    kept: Bool[Tensor, " n"]
    masks: Bool[Tensor, "n y x"]


def draw(
    coarse: Labelled,
    scores: PixelScores,
    generator: PromptableMaskGenerator,
    features: Features,
    seen: tuple[int, int],
    rules: DrawingRules,
) -> Drawn:
    """Prompt the generator with every region; where its masks are good enough, they give the class.

    Args:
        coarse: the label map before.
        scores: it is from.
        generator: makes masks.
        features: of the picture that the generator was shown.
        seen: (height, width) of that picture.
        rules: thresholds.
    """
    picture = (coarse.labels.shape[0], coarse.labels.shape[1])
    regions = coarse_regions(coarse, scores, rules)
    if not len(regions):
        none = torch.zeros(0, device=coarse.labels.device)
        return Drawn(coarse, regions, quality=none, kept=none.bool(), masks=none.bool().view(0, 1, 1))
    prompts = region_prompts(
        regions,
        picture,
        generator,
        coarse_threshold=rules.coarse_threshold,
        mask_prompt_scale=rules.mask_prompt_scale,
    )
    proposals = generator(features, prompts)
    quality = qualities(proposals)
    kept = quality > rules.iou_threshold
    masks = class_masks(generator, features, proposals, regions, kept, seen=seen, picture=picture)
    failed = failed_pixels(regions, kept, picture) if rules.failed_may_win else None
    return Drawn(
        found=refine(coarse, masks, scores.of_class, failed=failed),
        regions=regions,
        quality=quality,
        kept=kept,
        masks=small_masks(proposals, features.image_size, side=generator.input_side),
    )


def half_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the map that regions are found in."""
    return max(1, size[0] // 2), max(1, size[1] // 2)


def coarse_regions(coarse: Labelled, scores: PixelScores, rules: DrawingRules) -> Regions:
    """The regions of the coarse classes, at half the picture's size.

    Pixels whose classes are all less likely than the threshold prompt nothing. Labels shrink by the nearest
    value, probabilities bilinearly.
    """
    size = half_size((coarse.labels.shape[0], coarse.labels.shape[1]))
    labels = at_picture(coarse.labels, size)
    if scores.coarser_best is not None and rules.coarse_threshold > 0:
        labels = labels.masked_fill(scores.coarser_best < rules.coarse_threshold, NOTHING)

    def probability_of(label: int) -> Float[Tensor, "h w"]:
        return F.interpolate(scores.of_class(label)[None, None], size=size, mode="bilinear")[0, 0]

    return split_regions(
        labels,
        probability_of,
        minimal_area=rules.minimal_area,
        least_probability=rules.coarse_threshold,
    )


def failed_pixels(
    regions: Regions, kept: Bool[Tensor, " n"], picture: tuple[int, int]
) -> Bool[Tensor, "h w"]:
    """Where the regions are whose masks were dropped."""
    places = at_picture(regions.places, picture)
    dropped = torch.cat([~kept, kept.new_zeros(1)])  # NO_REGION reads the last
    return dropped[places.long()]


def small_masks(proposals: MaskProposals, image_size: tuple[int, int], *, side: int) -> Bool[Tensor, "n y x"]:
    """The masks of a picture on the generator's own grid, without what pads its input of a `side`."""
    logits = proposals.logits[0]
    height, width = (-(-side * logits.shape[-1] // side) for side in image_size)
    return logits[:, :height, :width] > 0


def qualities(proposals: MaskProposals) -> Float[Tensor, " n"]:
    """The predicted quality of each mask of a picture; 1 from a generator that predicts none."""
    if proposals.scores is None:
        return proposals.logits.new_ones(proposals.logits.shape[1])
    return proposals.scores[0]
