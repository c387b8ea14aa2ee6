"""Regions as segments and instances: an extension of ours. Trident is published for semantic segmentation.

A region that SAM gave a mask is a thing, as far as its mask won against others; a region whose mask was
dropped is one too, where it kept its coarse label. A class of stuff is a single segment.

Letters: h w the picture, n regions.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovseg.models.common.label_views import Region, find_regions
from ovseg.models.trident.drawing import Drawn
from ovseg.models.trident.refinement import at_picture
from ovseg.models.trident.regions import NO_REGION
from ovseg.types import NOTHING


def segments(drawn: Drawn, is_thing: Sequence[bool], *, overlap: float) -> list[Region]:
    """All segments of a picture, which do not overlap; the score is the mean probability times the quality.

    Pixels of a thing that are in no region, or outside the mask that its region got, belong to no segment.

    Args:
        drawn: the label map and its regions.
        is_thing: per class.
        overlap: intersection over union above which two masks of a class are one.
    """
    labels, classes = drawn.found.labels, len(is_thing)
    owners = owning_regions(drawn, overlap)
    things = torch.tensor([*is_thing, False], device=labels.device)[labels.long()]  # NOTHING reads the last
    numbers = torch.where(owners != NO_REGION, owners + classes, NOTHING)
    units = torch.where(things, numbers, labels)
    parts = find_regions(units, drawn.found.probabilities, [False] * (classes + len(drawn.regions)))
    return [_named(part, drawn, is_thing) for part in parts]


def owning_regions(drawn: Drawn, overlap: float) -> Int[Tensor, "h w"]:
    """The region that each pixel's label is from, `NO_REGION` where it is from none.

    Inside the mask of a region that is kept it is that one, or the one it repeats; elsewhere the region that
    the pixel was in before, if its mask was dropped.
    """
    found, regions = drawn.found, drawn.regions
    before = at_picture(regions.places, (found.labels.shape[0], found.labels.shape[1])).long()
    dropped = torch.cat([~drawn.kept, drawn.kept.new_zeros(1)])  # NO_REGION reads the last
    class_of = torch.cat([regions.labels, regions.labels.new_full((1,), NOTHING)])
    still = dropped[before] & (class_of[before] == found.labels)
    owners = torch.where(still, before, NO_REGION)
    same_as = repeats(drawn.masks, regions.labels, drawn.quality, overlap=overlap)
    renamed = torch.cat([same_as, same_as.new_full((1,), NO_REGION)])[found.owners.long()]
    return torch.where(found.owners != NO_REGION, renamed, owners).to(found.labels.dtype)


def repeats(
    masks: Bool[Tensor, "n y x"],
    labels: Int[Tensor, " n"],
    quality: Float[Tensor, " n"],
    *,
    overlap: float,
) -> Int[Tensor, " n"]:
    """For each mask the better one of its class that it repeats, or itself.

    Args:
        masks: on any grid.
        labels: class of each.
        quality: of each; better masks come first.
        overlap: intersection over union above which one repeats the other.
    """
    flat = masks.flatten(1).float()
    common = flat @ flat.T
    areas = flat.sum(1)
    shared = common / (areas[:, None] + areas - common).clamp_min(1)
    alike = ((shared > overlap) & (labels[:, None] == labels)).cpu()
    same_as = torch.arange(len(masks))
    free = torch.ones(len(masks), dtype=torch.bool)
    for index in quality.argsort(descending=True, stable=True).tolist():
        if free[index]:
            taken = alike[index] & free
            same_as[taken] = index
            free &= ~taken
            same_as[index], free[index] = index, False
    return same_as.to(masks.device)


def _named(part: Region, drawn: Drawn, is_thing: Sequence[bool]) -> Region:
    """A unit's number to the class that it is of."""
    index = part.label - len(is_thing)
    if index < 0:
        return part
    label = int(drawn.regions.labels[index])
    quality = min(1.0, max(0.0, float(drawn.quality[index])))
    return replace(part, label=label, is_thing=is_thing[label], score=part.score * quality)
