"""Logits of windows to a label per pixel of the picture, without ever holding all classes at its size.

Window by window, the logits are enlarged to the window, added at its place and divided by how many windows
show a pixel; the mean at the network's size is resized to the picture. That is the slide inference of
MMSegmentation, which SCLIP and its successors run in. All of it is linear, and as windows stand in rows and
columns it is one matrix per axis, from the stacked grids of the windows straight to the picture: tiles of the
result come from a few positions of the grids.

Letters: n windows, s synonyms, g positions of a window along an axis, i all windows' positions along an axis,
H W the stacked grids, y x a tile of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovseg.models.common.resample import AxisMap, Tile, axis_map, tiles
from ovseg.models.common.windows import Window

TILE_VALUES = 1 << 20
"""Values (pixels x synonyms) of one tile: a few megabytes, about the cache of a core."""


@dataclass(frozen=True)
class WindowGeometry:
    """Sizes (height, width) in pixels along the way of a picture.

    Attributes:
        places: the windows in the network input, row by row, all of one size.
        padded: what the grid of a window covers: the window, and padding right of and below it.
        network: the network input.
        picture: the picture itself, and the result.
    """

    places: tuple[Window, ...]
    padded: tuple[int, int]
    network: tuple[int, int]
    picture: tuple[int, int]


@dataclass(frozen=True)
class NamedPixels:
    """A label map.

    Attributes:
        labels: class index per pixel.
        probabilities: of those classes, 0..1.
    """

    labels: Int[Tensor, "h w"]
    probabilities: Float[Tensor, "h w"]


def name_pixels(
    logits: Float[Tensor, "n s _ _"],
    class_of_row: Int[Tensor, " s"],
    geometry: WindowGeometry,
    *,
    logit_scale: float,
) -> NamedPixels:
    """The best class of each pixel; a class is as likely as the likeliest of its synonyms.

    Args:
        logits: per window, synonym and position of the window's grid.
        class_of_row: class of each synonym.
        geometry: of the windows.
        logit_scale: factor on the logits before the softmax over all synonyms.
    """
    picture = geometry.picture
    stacked = stack(logits, geometry)
    rows, columns = axis_maps(logits, geometry)
    named = NamedPixels(
        labels=torch.empty(picture, dtype=torch.int32, device=logits.device),
        probabilities=torch.empty(picture, device=logits.device),
    )
    pixels = max(64, TILE_VALUES // logits.shape[1])
    height = max(8, int((pixels / 4) ** 0.5))
    for tile in tiles(*picture, rows=height, columns=max(8, pixels // height)):
        scores = part(stacked, rows, columns, tile).mul_(logit_scale)
        best = scores.max(-1)
        named.labels[tile.rows, tile.columns] = class_of_row[best.indices].to(torch.int32)
        named.probabilities[tile.rows, tile.columns] = (best.values - scores.logsumexp(-1)).exp()
    return named


def stack(logits: Float[Tensor, "n s _ _"], geometry: WindowGeometry) -> Float[Tensor, "H W s"]:
    """The grids of all windows side by side, as the windows stand, without their overlaps."""
    tops = {place.top for place in geometry.places}
    side_by_side: Tensor = logits.unflatten(0, (len(tops), -1)).permute(0, 3, 1, 4, 2)
    return side_by_side.flatten(2, 3).flatten(0, 1)


def axis_maps(logits: Float[Tensor, "n s _ _"], geometry: WindowGeometry) -> tuple[AxisMap, AxisMap]:
    """From the stacked grids to the picture: rows, columns."""
    spans = (
        sorted({(place.top, place.bottom) for place in geometry.places}),
        sorted({(place.left, place.right) for place in geometry.places}),
    )
    rows, columns = (
        AxisMap(
            axis_map(geometry.network[axis], geometry.picture[axis], device=logits.device).matrix
            @ mean_of_windows(
                spans[axis],
                axis_map(logits.shape[2 + axis], geometry.padded[axis], device=logits.device),
                geometry.network[axis],
            )
        )
        for axis in (0, 1)
    )
    return rows, columns


def mean_of_windows(
    spans: Sequence[tuple[int, int]], enlarge: AxisMap, network: int
) -> Float[Tensor, "network i"]:
    """One axis of the network input from the stacked grids: the mean over the windows that show a pixel.

    Args:
        spans: (start, end) of each window in pixels.
        enlarge: from a window's grid to the pixels of the window and its padding.
        network: pixels.
    """
    pixels = enlarge.matrix
    total = pixels.new_zeros(network, len(spans), pixels.shape[1])
    hits = pixels.new_zeros(network, 1)
    for index, (start, end) in enumerate(spans):
        total[start:end, index] = pixels[: end - start]
        hits[start:end] += 1
    return total.flatten(1) / hits


def part(
    stacked: Float[Tensor, "H W s"], rows: AxisMap, columns: AxisMap, tile: Tile
) -> Float[Tensor, "y x s"]:
    """A tile of the picture, from those positions alone that it depends on."""
    row_places, row_weights = rows.needed(tile.rows.start, tile.rows.stop)
    column_places, column_weights = columns.needed(tile.columns.start, tile.columns.stop)
    source = stacked[row_places[:, None], column_places]
    vertical = row_weights @ source.flatten(1)
    resized: Tensor = column_weights @ vertical.unflatten(1, source.shape[1:])
    return resized
