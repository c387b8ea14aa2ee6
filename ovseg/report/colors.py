"""Colours for classes and their instances: the data set's own, else a fixed, well-spread palette.

Distances are taken in Oklab (B. Ottosson, "A perceptual color space for image processing", 2020), where equal
steps look about equally large. The letters L, a, b are its lightness in 0..1 and its two colour axes.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

from ovseg.vocabulary import Vocabulary

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)

_HUE_WEIGHT = 2.5  # classes are told apart by hue rather than by lightness, which instances vary
_PALETTE_STEP = 0.02


def class_colors(vocabulary: Vocabulary) -> UInt8[np.ndarray, "k 3"]:
    """One RGB colour per class; where the vocabulary gives none, that of the class's index in `palette`."""
    colors = palette(len(vocabulary)).copy()
    for index, entry in enumerate(vocabulary.classes):
        if entry.color is not None:
            colors[index] = entry.color
    return colors


def palette(count: int) -> UInt8[np.ndarray, "k 3"]:
    """The first colours of an endless fixed list in which each lies far from all before it.

    A colour depends on its position alone, so index 7 looks the same in a list of 10 and in one of 1000.
    """
    return _candidates()[list(_spread_order(count))]


def instance_color(color: UInt8[np.ndarray, " 3"], index: int) -> UInt8[np.ndarray, " 3"]:
    """A shade for the `index`-th instance of a class of this colour; the first one has the colour itself.

    Lightness and hue swing around the class's own, in an order in which neighbours differ much.
    """
    if index == 0:
        return color
    step = _halton(index + 1) - 0.5
    lightness, a, b = rgb_to_oklab(color[None])[0]
    center = np.clip(lightness, 0.5, 0.75)
    turn = np.deg2rad(40) * (_halton(index, base=3) - 0.5)
    turned_a, turned_b = a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)
    return np.asarray(oklab_to_rgb(np.array([[center + 0.5 * step, turned_a, turned_b]]))[0])


def rgb_to_oklab(rgb: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """8-bit sRGB to Oklab."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T)


def oklab_to_rgb(lab: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Oklab to 8-bit sRGB; what lies outside is cut off at 0 and 255."""
    return np.asarray((np.clip(_oklab_to_srgb(lab), 0, 1) * 255).round().astype(np.uint8))


def _oklab_to_srgb(lab: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T
    positive = np.maximum(linear, 0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * positive ** (1 / 2.4) - 0.055)
    return np.asarray(curved)


@cache
def _candidates() -> UInt8[np.ndarray, "n 3"]:
    """Colours that stand out on a picture: neither near black or white nor near grey."""
    axis = np.arange(-0.32, 0.32, _PALETTE_STEP)
    lab = np.stack(
        np.meshgrid(np.arange(0.5, 0.9, _PALETTE_STEP * 2), axis, axis, indexing="ij"), -1
    ).reshape(-1, 3)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    srgb = _oklab_to_srgb(lab)
    shown = ((srgb >= 0) & (srgb <= 1)).all(axis=1) & (chroma > 0.09)
    return oklab_to_rgb(lab[shown])


@cache
def _spread_order(count: int) -> tuple[int, ...]:
    """Greedy farthest points: each next candidate is the one whose nearest chosen neighbour is farthest."""
    points = rgb_to_oklab(_candidates()) * [1, _HUE_WEIGHT, _HUE_WEIGHT]
    # A strong blue comes first: it is seen well on most photographs.
    chosen = [int(np.linalg.norm(_candidates().astype(int) - [40, 110, 230], axis=1).argmin())]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        if len(chosen) % len(points) == 0:  # every candidate is taken: start again in the same order
            nearest = np.full(len(points), np.inf)
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return tuple(chosen[:count])


def _halton(index: int, base: int = 2) -> float:
    """The `index`-th number of the van der Corput sequence in 0..1: 1/2, 1/4, 3/4, 1/8, ..."""
    result, fraction = 0.0, 1.0
    while index:
        fraction /= base
        result += fraction * (index % base)
        index //= base
    return result
