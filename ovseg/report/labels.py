"""Class names written into the regions of a picture, where there is room for them."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Int, UInt8
from PIL import ImageDraw

from ovseg.report.fonts import write

_GRID = 256
"""Longer side of the grid on which the place for a label is sought."""

_DARKEN = 0.25

Box = tuple[float, float, float, float]


def draw_labels(
    canvas: PIL.Image.Image,
    ids: Int[np.ndarray, "h w"],
    names: Sequence[str],
    colors: UInt8[np.ndarray, "n 3"],
    size: int,
) -> None:
    """Write each region's name at its roundest place, larger regions first, where there is room.

    Args:
        canvas: is drawn on; as large as `ids`.
        ids: index of the region per pixel, -1 where there is none.
        names: of the regions.
        colors: of the regions.
        size: of the font in pixels.
    """
    draw = ImageDraw.Draw(canvas)
    taken: list[Box] = []
    for index, x, y, radius in _centers(ids):
        writing = write(names[index], size)
        width = writing.width
        if radius < 0.55 * size or width > 5 * radius:
            continue
        x = min(max(x, width / 2 + 3), canvas.width - width / 2 - 3)
        y = min(max(y, 0.7 * size), canvas.height - 0.7 * size)
        box = (x - width / 2 - 2, y - 0.6 * size, x + width / 2 + 2, y + 0.6 * size)
        if box[0] < 0 or box[1] < 0 or any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        edge = tuple((colors[index] * _DARKEN).astype(int).tolist())
        draw.text(
            (x, y),
            writing.text,
            "white",
            writing.font,
            anchor="mm",
            stroke_width=max(1, size // 7),
            stroke_fill=edge,
        )


def _centers(ids: Int[np.ndarray, "h w"]) -> list[tuple[int, float, float, float]]:
    """Per region (index, x, y, radius) of the largest diamond inside it, in pixels; large regions first."""
    step = max(1, -(-max(ids.shape) // _GRID))
    grid = ids[step // 2 :: step, step // 2 :: step]
    depth = _depth(grid)
    areas = np.bincount(grid[grid >= 0])
    # One pass for all regions: of the pixels sorted by region and depth, the last of each region is deepest.
    order = np.lexsort((depth.ravel(), grid.ravel()))
    regions = grid.ravel()[order]
    last = np.append(regions[1:] != regions[:-1], True)
    deepest = [(int(regions[i]), *divmod(int(order[i]), grid.shape[1])) for i in np.flatnonzero(last)]
    found = [
        (index, (column + 0.5) * step, (row + 0.5) * step, float(depth[row, column]) * step)
        for index, row, column in deepest
        if index >= 0
    ]
    return sorted(found, key=lambda center: -int(areas[center[0]]))


def _depth(grid: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Steps (up, down, left, right) from each pixel to the nearest one of another region or outside."""
    framed = np.pad(grid, 1, constant_values=-2)
    center = framed[1:-1, 1:-1]
    same = [framed[:-2, 1:-1] == center, framed[2:, 1:-1] == center]
    same += [framed[1:-1, :-2] == center, framed[1:-1, 2:] == center]
    inside = np.logical_and.reduce(same)
    depth = np.ones(grid.shape, np.int64)
    while inside.any():
        depth += inside
        framed_inside = np.pad(inside, 1)
        inside = (
            inside
            & framed_inside[:-2, 1:-1]
            & framed_inside[2:, 1:-1]
            & framed_inside[1:-1, :-2]
            & framed_inside[1:-1, 2:]
        )
    return depth


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
