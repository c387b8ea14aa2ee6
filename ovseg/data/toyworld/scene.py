"""A picture of toyworld with its exact truth. Needs no torch."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from ovseg.data.toyworld.layout import Layout, Split, make_layout, random_state, stuff_regions
from ovseg.data.toyworld.painting import paint_thing
from ovseg.data.toyworld.textures import TEXTURES

DEFAULT_SIZE = 256
_FINER = 2  # the canvas is this much larger than the picture, so that borders are smooth


@dataclass(frozen=True)
class Segment:
    """A region of a scene.

    Attributes:
        id: value of its pixels in `Scene.ids`.
        name: of its class.
        is_thing: countable.
        box: (left, top, right, bottom) of what is visible of it, in pixels; right and bottom are outside.
    """

    id: int
    name: str
    is_thing: bool
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: RGB.
        ids: 1 to the number of segments; every pixel belongs to one.
        segments: stuff first, then things from back to front.
    """

    image: UInt8[np.ndarray, "n n 3"]
    ids: Int32[np.ndarray, "n n"]
    segments: tuple[Segment, ...]


def draw_scene(split: Split, index: int, size: int = DEFAULT_SIZE) -> Scene:
    """Draw the scene at a place of a split: the same one whenever, wherever and at whatever size.

    Args:
        split: see `ovseg.data.toyworld.layout.Split`.
        index: 0 or above.
        size: side of the picture in pixels, 32 or above.
    """
    layout = make_layout(split, index)
    image, ids = _paint(layout, random_state(split, index, 1), size * _FINER)
    names = [*layout.stuff, *(placed.thing.name for placed in layout.things)]
    ids = ids[1::_FINER, 1::_FINER]
    lit = _lit(layout, cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))
    grain = random_state(split, index, 2).normal(0.0, layout.grain, lit.shape)
    pixels = ((lit + grain).clip(0, 1) * 255).round().astype(np.uint8)
    return Scene(pixels, ids, _segments(ids, names, things_from=len(layout.stuff)))


def _paint(
    layout: Layout, random: np.random.RandomState, n: int
) -> tuple[Float32[np.ndarray, "n n 3"], Int32[np.ndarray, "n n"]]:
    regions = stuff_regions(layout, n)
    image = np.zeros((n, n, 3), np.float32)
    for region, word in enumerate(layout.stuff):
        cv2.copyTo(TEXTURES[word](random, n), (regions == region).astype(np.uint8), image)
    ids = (regions + 1).astype(np.int32)
    for number, placed in enumerate(layout.things, start=len(layout.stuff) + 1):
        ids[paint_thing(image, placed.thing, placed.pose)] = number
    return image, ids


def _lit(layout: Layout, image: Float32[np.ndarray, "n n 3"]) -> Float32[np.ndarray, "n n 3"]:
    """The same in the scene's light."""
    axis = np.linspace(0.5, -0.5, image.shape[0], dtype=np.float32)
    gradient = 1 + layout.slope[0] * axis[None, :] + layout.slope[1] * axis[:, None]
    light = np.array(layout.light, np.float32)
    lit: Float32[np.ndarray, "n n 3"] = image * gradient[..., None] * light
    return lit


def _segments(ids: Int32[np.ndarray, "n n"], names: list[str], *, things_from: int) -> tuple[Segment, ...]:
    found = []
    for number, name in enumerate(names, start=1):
        mask = ids == number
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(rows):
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            found.append(Segment(number, name, number > things_from, box))
    return tuple(found)
