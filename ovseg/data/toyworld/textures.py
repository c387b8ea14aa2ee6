"""How the stuff of toyworld looks: a texture each, over the whole canvas. Needs no torch.

A texture is a function of a random state and the canvas side n to float32 colours (n, n, 3), mostly in 0..1.
Whatever is random is drawn at a size that does not depend on n, so that a scene is the same at every size.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float32

Field = Float32[np.ndarray, "n n"]
Colours = Float32[np.ndarray, "n n 3"]


def noise(random: np.random.RandomState, n: int, cells: tuple[int, int]) -> Field:
    """Smooth values in 0..1 with so many bumps from top to bottom and from left to right."""
    grid = random.rand(*cells).astype(np.float32)
    smooth: Field = cv2.resize(grid, (n, n), interpolation=cv2.INTER_CUBIC)
    return smooth.clip(0.0, 1.0)


def clouds(random: np.random.RandomState, n: int, cells: int, octaves: int = 3) -> Field:
    """Noise over noise, each twice as fine and half as strong; in 0..1."""
    layers = [noise(random, n, (cells << i, cells << i)) * 0.5**i for i in range(octaves)]
    total: Field = np.sum(layers, axis=0) / np.float32(sum(0.5**i for i in range(octaves)))
    return total


def places(n: int, turn: float = 0.0) -> tuple[Field, Field]:
    """Coordinates 0..1 to the right and downwards, turned by some radians."""
    axis = (np.arange(n, dtype=np.float32) + 0.5) / n
    x, y = axis[None, :], axis[:, None]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return x * cos + y * sin, y * cos - x * sin


def blend(weight: Field, low: tuple[float, float, float], high: tuple[float, float, float]) -> Colours:
    """From one colour (where the weight is 0) to another (where it is 1)."""
    weight = np.asarray(weight, np.float32)
    planes = [np.float32(a) + np.float32(b - a) * weight for a, b in zip(low, high, strict=True)]
    blended: Colours = cv2.merge(planes)
    return blended


def over(base: Colours, mask: Bool[np.ndarray, "n n"], top: Colours) -> Colours:
    """The one where the mask is, else the other; changes and returns `base`."""
    cv2.copyTo(top, mask.view(np.uint8), base)
    return base


def paint_over(base: Colours, mask: Bool[np.ndarray, "n n"], colour: tuple[float, float, float]) -> Colours:
    """A single colour where the mask is; changes and returns `base`."""
    return over(base, mask, np.full_like(base, np.array(colour, np.float32)))


def sky(random: np.random.RandomState, n: int) -> Colours:
    """Pale at the horizon, with clouds."""
    _, y = places(n)
    cover = ((clouds(random, n, 4) - 0.52) * 6).clip(0, 1)
    air = blend(np.broadcast_to(y, (n, n)) * (1 - cover), (0.36, 0.62, 0.95), (0.72, 0.87, 1.0))
    covered: Colours = air + blend(cover, (0.0, 0.0, 0.0), (0.6, 0.35, 0.04))
    return covered


def sea(random: np.random.RandomState, n: int) -> Colours:
    """Long waves with bright crests."""
    _, y = places(n, random.uniform(-0.15, 0.15))
    waves = np.sin(2 * np.pi * (y * random.uniform(15, 20) + 1.3 * noise(random, n, (5, 4))))
    crest = ((waves - 0.72) * 5).clip(0, 1) * (noise(random, n, (14, 9)) > 0.4)
    return blend(0.5 + 0.5 * waves, (0.03, 0.28, 0.42), (0.08, 0.44, 0.56)) + crest[..., None] * np.float32(
        0.42
    )


def sand(random: np.random.RandomState, n: int) -> Colours:
    """Dunes and grains."""
    _, y = places(n, random.uniform(-0.6, 0.6))
    ripples = np.sin(2 * np.pi * (9 * y + 0.9 * noise(random, n, (5, 5))))
    grain = noise(random, n, (170, 170)) - 0.5
    return blend(0.5 + 0.28 * ripples + 0.5 * grain, (0.76, 0.62, 0.38), (0.96, 0.86, 0.62))


def grass(random: np.random.RandomState, n: int) -> Colours:
    """Upright blades."""
    blades = noise(random, n, (34, 150)) * 0.7 + clouds(random, n, 4) * 0.3
    return blend(((blades - 0.3) * 2.2).clip(0, 1), (0.12, 0.36, 0.06), (0.52, 0.76, 0.24))


def snow(random: np.random.RandomState, n: int) -> Colours:
    """White drifts with blue shade and sparks."""
    drifts = blend(clouds(random, n, 3, 2), (0.74, 0.82, 0.95), (1.0, 1.0, 1.0))
    return paint_over(drifts * np.float32(0.97), noise(random, n, (120, 120)) > 0.97, (1.0, 1.0, 1.0))


def brick_wall(random: np.random.RandomState, n: int) -> Colours:
    """Courses of bricks, every second one moved by half a brick."""
    x, y = places(n, random.uniform(-0.06, 0.06))
    rows = random.uniform(11, 14)
    v = y * rows
    u = x * rows * 0.45 + 0.5 * (np.floor(v) % 2)
    tone = tones(random, np.floor(u), np.floor(v))
    bricks = blend(0.75 * tone + 0.25 * noise(random, n, (90, 90)), (0.50, 0.20, 0.13), (0.76, 0.40, 0.28))
    joint = ((u % 1) < 0.055) | ((v % 1) < 0.12)
    return paint_over(bricks, joint, (0.80, 0.77, 0.71))


def wooden_floor(random: np.random.RandomState, n: int) -> Colours:
    """Long planks with grain."""
    x, y = places(n, random.uniform(-0.1, 0.1))
    v = y * random.uniform(8, 10)
    row = np.floor(v)
    u = x * 1.6 + 0.37 * row
    tone = tones(random, np.floor(u), row)
    grain = noise(random, n, (160, 9))
    planks = blend(0.55 * tone + 0.45 * grain, (0.42, 0.24, 0.10), (0.74, 0.51, 0.28))
    joint = ((v % 1) < 0.07) | ((u % 1) < 0.014)
    return paint_over(planks, joint, (0.20, 0.11, 0.05))


def hedge(random: np.random.RandomState, n: int) -> Colours:
    """Round dark leaves."""
    near, tone = cells(random, n, 26)
    leaves = (1.15 - 1.3 * near).clip(0, 1) * (0.45 + 0.55 * tone)
    return blend(leaves, (0.01, 0.09, 0.05), (0.16, 0.50, 0.20))


def carpet(random: np.random.RandomState, n: int) -> Colours:
    """Woven diamonds."""
    x, y = places(n, random.uniform(-0.2, 0.2))
    f = random.uniform(7, 9)
    diamonds = np.abs((x * f) % 1 - 0.5) + np.abs((y * f) % 1 - 0.5)
    weave = 0.06 * np.sign(np.sin(2 * np.pi * 90 * x) * np.sin(2 * np.pi * 90 * y))
    dark, pale, rim = (0.34, 0.07, 0.16), (0.80, 0.60, 0.40), (0.12, 0.13, 0.32)
    inner = blend((diamonds < 0.22).astype(np.float32), dark, pale)
    pattern = paint_over(inner, (diamonds > 0.42) & (diamonds < 0.56), rim)
    woven: Colours = pattern + blend(weave, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return woven


def pebbles(random: np.random.RandomState, n: int) -> Colours:
    """Round grey stones with dark gaps."""
    near, tone = cells(random, n, 15)
    stones = ((0.72 - near) * 4).clip(0, 1) * (0.45 + 0.55 * tone) * (1.1 - 0.5 * near)
    return blend(stones, (0.10, 0.10, 0.10), (0.80, 0.77, 0.74))


def tiles(random: np.random.RandomState, n: int) -> Colours:
    """Glossy squares with white joints."""
    x, y = places(n, random.uniform(-0.06, 0.06))
    f = random.uniform(8, 10)
    u, v = x * f, y * f
    gloss = 0.35 * ((u % 1) + (v % 1)) / 2
    glaze = blend(
        0.65 * tones(random, np.floor(u), np.floor(v)) + gloss, (0.10, 0.50, 0.52), (0.55, 0.86, 0.84)
    )
    joint = ((u % 1) < 0.09) | ((v % 1) < 0.09)
    return paint_over(glaze, joint, (0.96, 0.96, 0.94))


def lava(random: np.random.RandomState, n: int) -> Colours:
    """Black crust with glowing cracks."""
    ridge = np.abs(clouds(random, n, 7, 3) - 0.5)
    glow = (1 - ridge * 11).clip(0, 1)
    crust = blend(clouds(random, n, 16, 2), (0.07, 0.03, 0.03), (0.26, 0.12, 0.10))
    fire = blend(glow, (0.82, 0.13, 0.02), (1.0, 0.86, 0.25))
    return over(crust, glow > 0.12, fire)


TEXTURES: Mapping[str, Callable[[np.random.RandomState, int], Colours]] = {
    "sky": sky,
    "sea": sea,
    "sand": sand,
    "grass": grass,
    "snow": snow,
    "brick wall": brick_wall,
    "wooden floor": wooden_floor,
    "hedge": hedge,
    "carpet": carpet,
    "pebbles": pebbles,
    "tiles": tiles,
    "lava": lava,
}


def tones(random: np.random.RandomState, column: Field, row: Field) -> Field:
    """A value in 0..1 for each cell of a grid, the same all over the cell."""
    table = random.rand(64, 64).astype(np.float32)
    found: Field = table[row.astype(np.int32) % 64, column.astype(np.int32) % 64]
    return found


def cells(random: np.random.RandomState, n: int, count: int) -> tuple[Field, Field]:
    """The distance to the nearest of many scattered points, in spacings (0 to about 1), and its tone.

    One point lies in each of count x count squares. Made at a fixed fine size and enlarged from there.
    """
    fine = 256
    offsets = random.rand(count + 2, count + 2, 2).astype(np.float32) * 0.8 + 0.1
    tone = random.rand(count + 2, count + 2).astype(np.float32)
    x, y = (np.broadcast_to(axis * count, (fine, fine)) for axis in places(fine))
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    best, of_best = np.full((fine, fine), 9.0, np.float32), np.zeros((fine, fine), np.float32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            r, c = row + down, column + right
            point = offsets[r + 1, c + 1]
            distance = np.hypot(c + point[..., 0] - x, r + point[..., 1] - y).astype(np.float32)
            nearer = distance < best
            best = np.where(nearer, distance, best)
            of_best = np.where(nearer, tone[r + 1, c + 1], of_best)
    near: Field = cv2.resize(best, (n, n), interpolation=cv2.INTER_LINEAR)
    tone_map: Field = cv2.resize(of_best, (n, n), interpolation=cv2.INTER_NEAREST)
    return near, tone_map
