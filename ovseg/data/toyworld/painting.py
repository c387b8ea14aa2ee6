"""Painting one thing onto a canvas. Needs no torch.

Letters: n the side of the canvas in pixels, h w a window of it, c corners. Points are (x, y) in pixels from the
canvas's upper left corner.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from ovseg.data.toyworld.things import BUILDERS, COLOURS, WHITE, Colour, Outline, Paint, Part
from ovseg.data.toyworld.words import Thing

STRIPES = 0.36
DOTS = 0.42
"""Periods of the patterns in the thing's own units (it is 2 wide)."""

_SHIFT = 4  # binary digits behind the point in OpenCV's coordinates
_REACH = 1.6  # what a thing covers at most, in radii: its corner, turned and stretched


@dataclass(frozen=True)
class Pose:
    """Where a thing is and how it is turned; lengths are shares of the picture's side.

    Attributes:
        x, y: of its middle.
        radius: half of its side.
        turn: clockwise, in radians.
        stretch: its width over its height.
        mirrored: left and right exchanged.
        tint: what its colour is multiplied with, per channel.
    """

    x: float
    y: float
    radius: float
    turn: float = 0.0
    stretch: float = 1.0
    mirrored: bool = False
    tint: Colour = (1.0, 1.0, 1.0)

    def matrix(self, n: int) -> Float[np.ndarray, "2 2"]:
        """Takes the thing's own coordinates to pixels, but for the shift to its middle."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        wide = np.sqrt(self.stretch)
        scale = np.diag([wide * (-1 if self.mirrored else 1), 1 / wide]) * self.radius * n
        turned: Float[np.ndarray, "2 2"] = np.array([[cos, -sin], [sin, cos]]) @ scale
        return turned

    def window(self, n: int) -> tuple[slice, slice]:
        """Rows and columns of the canvas that hold the thing and its shadow."""
        reach = self.radius * n * _REACH + 3

        def side(middle: float) -> slice:
            return slice(int(np.clip(middle - reach, 0, n - 1)), int(np.clip(middle + reach, 1, n)))

        return side(self.y * n), side(self.x * n)


class _Stencil:
    """Fills outlines of one thing in the window of the canvas that holds it."""

    def __init__(self, pose: Pose, n: int) -> None:
        self.rows, self.columns = pose.window(n)
        self.shape = (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)
        self._matrix = pose.matrix(n)
        self._middle = np.array([pose.x * n - self.columns.start, pose.y * n - self.rows.start])

    def corners(self, outline: Outline) -> np.ndarray:  # type: ignore[type-arg]
        """In OpenCV's fixed-point numbers."""
        return np.round((outline @ self._matrix.T + self._middle) * 2**_SHIFT).astype(np.int32)

    def filled(self, part: Part) -> Bool[np.ndarray, "h w"]:
        canvas = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(canvas, [self.corners(line) for line in (part.outline, *part.holes)], 1, shift=_SHIFT)
        return canvas > 0

    def rim(self, part: Part, width: int) -> Bool[np.ndarray, "h w"]:
        canvas = np.zeros(self.shape, np.uint8)
        lines = [self.corners(line) for line in (part.outline, *part.holes)]
        cv2.polylines(canvas, lines, isClosed=True, color=1, thickness=width, shift=_SHIFT)
        return canvas > 0

    def own_places(self) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """The thing's own x and y at each pixel."""
        inverse = np.linalg.inv(self._matrix)
        x = np.arange(self.shape[1])[None, :] + 0.5 - self._middle[0]
        y = np.arange(self.shape[0])[:, None] + 0.5 - self._middle[1]
        return inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y


def outline_mask(thing: Thing, pose: Pose, n: int) -> Bool[np.ndarray, "n n"]:
    """Its pixels, as if nothing were before it."""
    stencil = _Stencil(pose, n)
    mask = np.zeros((n, n), bool)
    for part in BUILDERS[thing.kind]():
        mask[stencil.rows, stencil.columns] |= stencil.filled(part)
    return mask


def paint_thing(image: Float32[np.ndarray, "n n 3"], thing: Thing, pose: Pose) -> Bool[np.ndarray, "n n"]:
    """Paint a thing and its shadow into an image of colours in 0..1, in place.

    Returns:
        Its pixels.
    """
    n = image.shape[0]
    stencil = _Stencil(pose, n)
    window = (stencil.rows, stencil.columns)
    body = _body(thing, pose, stencil)
    colours = np.zeros((*stencil.shape, 3), np.float32)
    solid = np.zeros(stencil.shape, bool)
    for part in BUILDERS[thing.kind]():
        filled = stencil.filled(part)
        colours[filled] = body[filled] if part.paint == "body" else _flat(part.paint, thing, pose)
        colours[filled & stencil.rim(part, max(1, round(n / 220)))] *= 0.45
        solid |= filled
    _cast_shadow(image[window], solid, round(pose.radius * n * 0.12))
    image[window][solid] = colours[solid]
    mask = np.zeros((n, n), bool)
    mask[window] = solid
    return mask


def _body(thing: Thing, pose: Pose, stencil: _Stencil) -> Float32[np.ndarray, "h w 3"]:
    """The thing's colour and pattern with light from above, all over the window."""
    x, y = stencil.own_places()
    match thing.pattern:
        case "striped":
            light = ((x + 0.5 * y) / STRIPES) % 1 < 0.42
        case "dotted":
            row = np.floor(y / DOTS)
            light = np.hypot((x / DOTS + 0.5 * (row % 2)) % 1 - 0.5, (y / DOTS) % 1 - 0.5) < 0.31
        case _:
            light = np.zeros(stencil.shape, bool)
    main = np.array(COLOURS[thing.colour]) * pose.tint
    painted = np.where(light[..., None], np.array(WHITE), main)
    return (painted * (1.04 - 0.16 * y.clip(-1, 1))[..., None]).astype(np.float32)


def _flat(paint: Paint, thing: Thing, pose: Pose) -> Float32[np.ndarray, " 3"]:
    if isinstance(paint, str):
        return (np.array(COLOURS[thing.colour]) * pose.tint * 0.72).astype(np.float32)
    return np.array(paint, np.float32)


def _cast_shadow(window: Float32[np.ndarray, "h w 3"], solid: Bool[np.ndarray, "h w"], distance: int) -> None:
    """Darken what lies to the lower right of a thing."""
    moved: UInt8[np.ndarray, "h w"] = np.zeros(solid.shape, np.uint8)
    step = min(distance, *(side - 1 for side in solid.shape))
    moved[step:, step:] = solid[: solid.shape[0] - step, : solid.shape[1] - step]
    soft = cv2.blur(moved.astype(np.float32), (2 * step + 1, 2 * step + 1))
    window *= 1 - 0.38 * soft[..., None]
