"""Pictures side by side for a page: drawn small, with a map of the classes for the pointer to ask."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import PIL.Image
from jaxtyping import Int, UInt8

from ovseg.report.overlay import draw_regions
from ovseg.report.regions import RegionMap, View, regions_of
from ovseg.types import NOTHING, Image, Prediction

THUMBNAIL = 420
"""Longer side of a drawn picture in pixels."""
MAP_SIDE = 160
"""Longer side of the map of classes beneath it, which answers the pointer."""

_QUALITY = 80


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        title: the method, or what else it shows.
        jpeg: the drawing.
        runs: its map of classes, row by row, as (class, pixels) pairs in one list; class -1 is nothing.
        scores: column title -> the metric on this picture alone, in 0..100.
    """

    title: str
    jpeg: bytes
    runs: tuple[int, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        key: its name in the data set.
        size: (height, width) of the drawings in pixels.
        map_size: (height, width) of the maps of classes.
        jpeg: the picture as it is.
        truth: drawn like a prediction.
        methods: one panel each.
        disagreement: share of its pixels, in 0..1, that two methods give different classes, on average over
            pairs of methods; None with one method.
    """

    key: str
    size: tuple[int, int]
    map_size: tuple[int, int]
    jpeg: bytes
    truth: Panel
    methods: tuple[Panel, ...]
    disagreement: float | None


@dataclass(frozen=True)
class Gallery:
    """Some pictures of a data set.

    Attributes:
        shots: those on which the methods disagree most, most first.
        of: how many pictures they were chosen from.
        colors: of the classes.
        remarks: why there are no pictures or not all methods, and what to do about it.
    """

    shots: tuple[Shot, ...]
    of: int
    colors: UInt8[np.ndarray, "k 3"]
    remarks: tuple[str, ...] = ()


def panel(title: str, image: Image, prediction: Prediction, view: View, scores: Mapping[str, float]) -> Panel:
    """Draw one view of a prediction over its picture, as `ovseg.report.overlay` does."""
    drawn = draw_regions(image, prediction, view=view, max_side=THUMBNAIL)
    labels = _shrunk(_labels(regions_of(prediction, view)), MAP_SIDE)
    return Panel(title, jpeg(drawn), run_lengths(labels), scores)


def thumbnail(image: Image) -> Image:
    """The picture at the size of the drawings."""
    picture = PIL.Image.fromarray(image)
    size = scaled((image.shape[0], image.shape[1]), THUMBNAIL)
    if size == image.shape[:2]:
        return image
    return np.array(picture.resize(size[::-1], PIL.Image.Resampling.LANCZOS))


def jpeg(image: Image) -> bytes:
    """Encode for a page."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(height, width) brought down so that the longer side is at most `longest`; never below 1."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def run_lengths(labels: Int[np.ndarray, "h w"]) -> tuple[int, ...]:
    """Value and count of each run of equal values, row by row, in one flat list."""
    flat = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    counts = np.diff(starts, append=len(flat))
    return tuple(np.stack([flat[starts], counts], axis=1).ravel().tolist())


def _labels(regions: RegionMap) -> Int[np.ndarray, "h w"]:
    """Class index per pixel."""
    lookup = np.array([*(region.label for region in regions.regions), NOTHING], np.int64)
    return np.asarray(lookup[regions.ids])


def _shrunk(labels: Int[np.ndarray, "h w"], longest: int) -> Int[np.ndarray, "h2 w2"]:
    height, width = labels.shape
    small = scaled((height, width), longest)
    rows = ((np.arange(small[0]) + 0.5) * height / small[0]).astype(int)
    columns = ((np.arange(small[1]) + 0.5) * width / small[1]).astype(int)
    return np.asarray(labels[rows[:, None], columns])
