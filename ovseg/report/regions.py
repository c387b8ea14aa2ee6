"""What of a prediction is drawn: a map of regions that do not overlap, and what each of them is."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

from ovseg.report.colors import class_colors, instance_color
from ovseg.types import Instances, Panoptic, Prediction

View = Literal["panoptic", "semantic", "instance"]

MIN_INSTANCE_SCORE = 0.3
"""Instances below this are not drawn: a method may give a hundred of them, most of them guesses."""


@dataclass(frozen=True)
class Region:
    """One region of a `RegionMap`.

    Attributes:
        label: class index in the vocabulary.
        area: pixels of it that are seen.
        color: (r, g, b) in 0..255.
    """

    label: int
    area: int
    color: tuple[int, int, int]


@dataclass(frozen=True)
class RegionMap:
    """A picture cut into regions.

    Attributes:
        ids: index in `regions` per pixel; -1 where there is none.
        regions: in any order.
        counted: whether regions of one class are single objects, so that their number means something.
    """

    ids: Int[np.ndarray, "h w"]
    regions: tuple[Region, ...]
    counted: bool


def regions_of(prediction: Prediction, view: View | None = None) -> RegionMap:
    """The regions of one view of a prediction.

    Args:
        prediction: with at least one view.
        view: which to take; None takes the panoptic one, else the semantic one, else the instances.

    Raises:
        ValueError: the prediction does not have the view.
    """
    colors = class_colors(prediction.vocabulary)
    if prediction.panoptic is not None and view in (None, "panoptic"):
        return _of_panoptic(prediction.panoptic, colors)
    if prediction.semantic is not None and view in (None, "semantic"):
        return _of_semantic(prediction.semantic.numpy(), colors)
    if prediction.instances is not None and view in (None, "instance"):
        return _of_instances(prediction.instances, prediction.image_size, colors)
    raise ValueError(f"The prediction has no {view or 'panoptic, semantic or instance'} view.")


def _of_panoptic(panoptic: Panoptic, colors: UInt8[np.ndarray, "k 3"]) -> RegionMap:
    ids = panoptic.ids.numpy()
    values, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    area_of = dict(zip(values.tolist(), areas.tolist(), strict=True))
    segments = sorted(panoptic.segments, key=lambda segment: (-area_of.get(segment.id, 0), segment.id))
    position = {segment.id: index for index, segment in enumerate(segments)}
    lookup = np.array([position.get(value, -1) for value in values.tolist()], np.int32)
    shades = _Shades(colors)
    regions = tuple(
        Region(segment.label, area_of.get(segment.id, 0), shades.next(segment.label)) for segment in segments
    )
    return RegionMap(lookup[inverse.reshape(ids.shape)], regions, counted=True)


def _of_semantic(labels: Int[np.ndarray, "h w"], colors: UInt8[np.ndarray, "k 3"]) -> RegionMap:
    values, inverse, areas = np.unique(labels, return_inverse=True, return_counts=True)
    present = values >= 0
    lookup = np.where(present, np.cumsum(present) - 1, -1).astype(np.int32)
    regions = tuple(
        Region(int(label), int(area), _tuple(colors[label]))
        for label, area in zip(values[present], areas[present], strict=True)
    )
    return RegionMap(lookup[inverse.reshape(labels.shape)], regions, counted=False)


def _of_instances(
    instances: Instances, image_size: tuple[int, int], colors: UInt8[np.ndarray, "k 3"]
) -> RegionMap:
    """Surer instances lie over less sure ones."""
    ids = np.full(image_size, -1, np.int32)
    scores = instances.scores.numpy()
    drawn = [int(index) for index in np.argsort(scores, kind="stable") if scores[index] >= MIN_INSTANCE_SCORE]
    for position, index in enumerate(drawn):
        ids[instances.masks[index].numpy()] = position
    areas = np.bincount(ids[ids >= 0], minlength=len(drawn))
    shades = _Shades(colors)
    by_area = sorted(range(len(drawn)), key=lambda position: -int(areas[position]))
    regions = {
        position: Region(label, int(areas[position]), shades.next(label))
        for position in by_area
        for label in [int(instances.labels[drawn[position]])]
    }
    return RegionMap(ids, tuple(regions[position] for position in range(len(drawn))), counted=True)


class _Shades:
    """Hands out the shades of each class in turn."""

    def __init__(self, colors: UInt8[np.ndarray, "k 3"]) -> None:
        self._colors = colors
        self._used: dict[int, int] = {}

    def next(self, label: int) -> tuple[int, int, int]:
        index = self._used.get(label, 0)
        self._used[label] = index + 1
        return _tuple(instance_color(self._colors[label], index))


def _tuple(color: UInt8[np.ndarray, " 3"]) -> tuple[int, int, int]:
    red, green, blue = color.tolist()
    return red, green, blue
