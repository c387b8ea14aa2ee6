"""A label per pixel as segments and instances: each connected region of a thing class is taken for one thing.

An extension of ours: the methods that name pixels are published for semantic segmentation alone.

Letters: h w the picture, k classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from ovseg.types import NOTHING, Instances, Panoptic, Segment


class Corner(NamedTuple):
    """The top left pixel of a rectangle in the picture."""

    top: int
    left: int


@dataclass(frozen=True)
class Region:
    """Pixels that are shown as one.

    Attributes:
        rows, columns: the smallest rectangle around them.
        mask: its pixels inside that rectangle.
        label: class index.
        is_thing: whether the class is countable.
        score: mean probability of its pixels, 0..1.
        area: pixels.
    """

    rows: slice
    columns: slice
    mask: Bool[np.ndarray, "y x"]
    label: int
    is_thing: bool
    score: float
    area: int


def find_regions(
    labels: Int[Tensor, "h w"],
    probabilities: Float[Tensor, "h w"],
    is_thing: Sequence[bool],
    *,
    min_area: int = 0,
) -> list[Region]:
    """Regions of a label map, class after class: of a thing those that hang together, of stuff a single one.

    Pixels hang together along sides and corners.

    Args:
        labels: class index per pixel, `NOTHING` where there is none.
        probabilities: of those labels, 0..1.
        is_thing: per class.
        min_area: pixels; things below it are left out.
    """
    classes = labels.cpu().numpy()
    likely = probabilities.cpu().float().numpy()
    found: list[Region] = []
    for label in np.unique(classes[classes != NOTHING]).tolist():
        everywhere = classes == label
        left, top, width, height = cv2.boundingRect(everywhere.astype(np.uint8))
        corner = Corner(top, left)
        part = slice(top, top + height), slice(left, left + width)
        if is_thing[label]:
            found += _things(everywhere[part], likely[part], corner, label, min_area)
        else:
            found.append(_region(everywhere[part], likely[part], corner, label, is_thing=False))
    return found


def panoptic_view(regions: Sequence[Region], size: tuple[int, int]) -> Panoptic:
    """All regions as a partition, numbered from 1 in their order."""
    ids = np.zeros(size, np.int32)
    segments = []
    for number, region in enumerate(regions, start=1):
        ids[region.rows, region.columns][region.mask] = number
        segments.append(Segment(number, region.label, region.is_thing, region.score, region.area))
    return Panoptic(ids=torch.from_numpy(ids), segments=tuple(segments))


def instance_view(regions: Sequence[Region], size: tuple[int, int], *, limit: int) -> Instances:
    """The things among the regions, at most `limit`, best score first."""
    things = sorted((region for region in regions if region.is_thing), key=lambda region: -region.score)
    things = things[:limit]
    masks = np.zeros((len(things), *size), np.bool_)
    for mask, region in zip(masks, things, strict=True):
        mask[region.rows, region.columns] = region.mask
    return Instances(
        masks=torch.from_numpy(masks),
        labels=torch.tensor([region.label for region in things], dtype=torch.int64),
        scores=torch.tensor([region.score for region in things], dtype=torch.float32),
    )


def _things(
    mask: Bool[np.ndarray, "y x"],
    likely: Float32[np.ndarray, "y x"],
    corner: Corner,
    label: int,
    min_area: int,
) -> list[Region]:
    """The connected parts of a mask, from top to bottom; `corner` is of the mask and of `likely`."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = []
    for number, (left, top, width, height, area) in enumerate(stats.tolist()):
        if number > 0 and area >= min_area:  # 0 is what is outside
            part = slice(top, top + height), slice(left, left + width)
            own = Corner(corner.top + top, corner.left + left)
            found.append(_region(parts[part] == number, likely[part], own, label, is_thing=True))
    return found


def _region(
    mask: Bool[np.ndarray, "y x"],
    likely: Float32[np.ndarray, "y x"],
    corner: Corner,
    label: int,
    *,
    is_thing: bool,
) -> Region:
    return Region(
        rows=slice(corner.top, corner.top + mask.shape[0]),
        columns=slice(corner.left, corner.left + mask.shape[1]),
        mask=mask,
        label=label,
        is_thing=is_thing,
        score=min(1.0, float(likely[mask].mean(dtype=np.float64))),
        area=int(mask.sum()),
    )
