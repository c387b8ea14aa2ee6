"""A map of classes to connected regions, each with a point inside it and a box around it.

Source: Trident, `seg_utils/seg_refine.py` (official names: coarse masks, points and boxes).

Letters: h w the map, n regions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovseg.types import NOTHING

NO_REGION = -1


@dataclass(frozen=True)
class Regions:
    """Connected regions by class, those of a class in the order of their first pixels.

    Attributes:
        places: index of the region of each pixel, `NO_REGION` where there is none.
        labels: class of each region, ascending.
        points: (x, y) of the most probable pixel of each.
        boxes: (x_min, y_min, x_max, y_max) around each, inclusive.
        areas: pixels of each.
        probabilities: of the classes that have regions, at every pixel of the map.
    """

    places: Int[Tensor, "h w"]
    labels: Int[Tensor, " n"]
    points: Int[Tensor, "n 2"]
    boxes: Int[Tensor, "n 4"]
    areas: Int[Tensor, " n"]
    probabilities: Mapping[int, Float[Tensor, "h w"]]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class _Parts:
    """The regions of one class: numbers from 1 in the map, and a row for each."""

    numbers: Int[np.ndarray, "h w"]
    points: Int[np.ndarray, "n 2"]
    boxes: Int[np.ndarray, "n 4"]
    areas: Int[np.ndarray, " n"]


def split_regions(
    labels: Int[Tensor, "h w"],
    probability_of: Callable[[int], Float[Tensor, "h w"]],
    *,
    minimal_area: int,
    least_probability: float,
) -> Regions:
    """Regions that hang together along sides and corners.

    Args:
        labels: class per pixel, `NOTHING` where there is none.
        probability_of: of a class, at every pixel.
        minimal_area: pixels; smaller regions are left out.
        least_probability: classes that reach it nowhere are left out.
    """
    device = labels.device
    classes = labels.cpu().numpy()
    places = np.full(classes.shape, NO_REGION, np.int32)
    owners: list[int] = []
    found: list[_Parts] = []
    probabilities = {}
    for label in np.unique(classes[classes != NOTHING]).tolist():
        likely = probability_of(label)
        if float(likely.max()) < least_probability:
            continue
        parts = _parts(classes == label, likely.cpu().numpy(), minimal_area)
        if len(parts.areas):
            inside = parts.numbers > 0
            places[inside] = parts.numbers[inside] + (len(owners) - 1)
            owners += [label] * len(parts.areas)
            found.append(parts)
            probabilities[label] = likely

    def rows(name: str, width: tuple[int, ...]) -> Tensor:
        empty = np.zeros((0, *width), np.int64)
        joined = np.concatenate([empty, *(getattr(parts, name) for parts in found)])
        return torch.from_numpy(joined).to(device)

    return Regions(
        places=torch.from_numpy(places).to(device),
        labels=torch.tensor(owners, dtype=torch.int64, device=device),
        points=rows("points", (2,)),
        boxes=rows("boxes", (4,)),
        areas=rows("areas", ()),
        probabilities=probabilities,
    )


def _parts(mask: Bool[np.ndarray, "h w"], likely: Float[np.ndarray, "h w"], minimal_area: int) -> _Parts:
    """The connected parts of one class's mask that are large enough."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    flat = numbers.ravel()
    first = np.zeros(count, np.int64)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # of several values the last one stays
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    order = np.argsort(first[1:]) + 1
    order = order[areas[order] >= minimal_area]
    left, top = stats[order, cv2.CC_STAT_LEFT], stats[order, cv2.CC_STAT_TOP]
    right = left + stats[order, cv2.CC_STAT_WIDTH] - 1
    bottom = top + stats[order, cv2.CC_STAT_HEIGHT] - 1
    boxes = np.stack([left, top, right, bottom], axis=1).astype(np.int64)
    points = [
        _likeliest(numbers, number, likely, box) for number, box in zip(order.tolist(), boxes, strict=True)
    ]
    new_number = np.zeros(count, np.int32)
    new_number[order] = np.arange(1, len(order) + 1)
    return _Parts(
        numbers=new_number[numbers],
        points=np.array(points, np.int64).reshape(-1, 2),
        boxes=boxes,
        areas=areas[order],
    )


def _likeliest(
    numbers: Int[np.ndarray, "h w"], number: int, likely: Float[np.ndarray, "h w"], box: Int[np.ndarray, "4"]
) -> tuple[int, int]:
    """(x, y) of the largest value inside a region, the first of equal ones."""
    left, top, right, bottom = box.tolist()
    window = slice(top, bottom + 1), slice(left, right + 1)
    values = np.where(numbers[window] == number, likely[window], -np.inf)
    y, x = divmod(int(values.argmax()), values.shape[1])
    return left + x, top + y
