"""Painting one thing onto a canvas. Needs no torch.

Letters: n the side of the canvas in pixels, h w a window of it. Points are (x, y) in pixels from the upper
left corner of the canvas.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from ovseg.data.toyworld.things import BUILDERS, COLOURS, WHITE, Colour, Paint, Part
from ovseg.data.toyworld.words import Thing

STRIPES = 0.36
DOTS = 0.42
"""Periods of the patterns in the thing's own units (it is 2 wide)."""

_SHIFT = 4  # binary digits behind the point in OpenCV's coordinates


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


class _Stencil:
    """Fills outlines of one thing, in the window of the canvas that holds it and its shadow."""

    def __init__(self, thing: Thing, pose: Pose, n: int) -> None:
        self.parts = BUILDERS[thing.kind]()
        self.matrix = pose.matrix(n)
        self.shadow = max(1, round(pose.radius * n * 0.12))
        middle = np.array([pose.x * n, pose.y * n])
        corners = np.concatenate([part.outline for part in self.parts]) @ self.matrix.T + middle
        low = np.floor(corners.min(0) - 2).clip(0, n - 1).astype(int)
        high = np.ceil(corners.max(0) + 2 * self.shadow + 2).clip(low + 1, n).astype(int)
        self.window = (slice(low[1], high[1]), slice(low[0], high[0]))
        self.shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        self.middle = middle - low

    def lines(self, part: Part) -> list[np.ndarray]:
        """Its outline and holes in OpenCV's fixed-point numbers."""
        placed = (line @ self.matrix.T + self.middle for line in (part.outline, *part.holes))
        return [np.round(line * 2**_SHIFT).astype(np.int32) for line in placed]

    def fill(self, canvas: np.ndarray, part: Part, colour: Sequence[float], rim: int = 0) -> None:
        """Paint a part and, if a width is given, its rim in a darker tone."""
        cv2.fillPoly(canvas, self.lines(part), colour, shift=_SHIFT)
        if rim:
            self.outline(canvas, part, [0.45 * value for value in colour], rim)

    def outline(self, canvas: np.ndarray, part: Part, colour: Sequence[float], width: int) -> None:
        cv2.polylines(canvas, self.lines(part), isClosed=True, color=colour, thickness=width, shift=_SHIFT)

    def own_places(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """The thing's own x and y at each pixel."""
        inverse = np.linalg.inv(self.matrix).astype(np.float32)
        x = np.arange(self.shape[1], dtype=np.float32)[None, :] + np.float32(0.5 - self.middle[0])
        y = np.arange(self.shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - self.middle[1])
        return inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y


def outline_mask(thing: Thing, pose: Pose, n: int) -> Bool[np.ndarray, "n n"]:
    """Its pixels, as if nothing were before it."""
    stencil = _Stencil(thing, pose, n)
    solid = np.zeros(stencil.shape, np.uint8)
    for part in stencil.parts:
        stencil.fill(solid, part, (1.0,))
    mask = np.zeros((n, n), bool)
    mask[stencil.window] = solid > 0
    return mask


def paint_thing(image: Float32[np.ndarray, "n n 3"], thing: Thing, pose: Pose) -> Bool[np.ndarray, "n n"]:
    """Paint a thing and its shadow into an image of colours in 0..1, in place.

    Returns:
        Its pixels.
    """
    n = image.shape[0]
    stencil, rim = _Stencil(thing, pose, n), max(1, round(n / 220))
    body = _body(thing, pose, stencil)
    colours = np.zeros((*stencil.shape, 3), np.float32)
    solid = np.zeros(stencil.shape, np.uint8)
    for part in stencil.parts:
        flat = _flat(part.paint, thing, pose)
        stencil.fill(colours, part, flat, rim)
        if part.paint == "body":
            inside = np.zeros(stencil.shape, np.uint8)
            stencil.fill(inside, part, (1.0,))
            cv2.copyTo(body, inside, colours)
            stencil.outline(colours, part, [0.45 * value for value in flat], rim)
        stencil.fill(solid, part, (1.0,))
        stencil.outline(solid, part, (1.0,), rim)
    _cast_shadow(image[stencil.window], solid, stencil.shadow)
    image[stencil.window] = np.where(solid[..., None] > 0, colours, image[stencil.window])
    mask = np.zeros((n, n), bool)
    mask[stencil.window] = solid > 0
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
    shade = 1.04 - 0.16 * y.clip(-1, 1)
    main = _flat("body", thing, pose)
    planes = [np.where(light, np.float32(w), np.float32(m)) * shade for w, m in zip(WHITE, main, strict=True)]
    painted: Float32[np.ndarray, "h w 3"] = cv2.merge(planes)
    return painted


def _flat(paint: Paint, thing: Thing, pose: Pose) -> Colour:
    if not isinstance(paint, str):
        return paint
    r, g, b = np.array(COLOURS[thing.colour]) * pose.tint * (1.0 if paint == "body" else 0.72)
    return float(r), float(g), float(b)


def _cast_shadow(
    window: Float32[np.ndarray, "h w 3"], solid: UInt8[np.ndarray, "h w"], distance: int
) -> None:
    """Darken what lies to the lower right of a thing."""
    moved = np.zeros(solid.shape, np.float32)
    step = min(distance, *(side - 1 for side in solid.shape))
    moved[step:, step:] = solid[: solid.shape[0] - step, : solid.shape[1] - step]
    soft = 1 - 0.38 * cv2.blur(moved, (2 * step + 1, 2 * step + 1))
    window *= cv2.merge([soft, soft, soft])
