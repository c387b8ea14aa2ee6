"""Bilinear resizing as pairs of small matrix products, a tile of the result at a time.

Masks come at a quarter of the network's input, are enlarged to it, cropped, and resized to the picture. Done
whole, 250 masks of a large picture are gigabytes. Bilinear resizing is linear and separable, so the whole
chain is one matrix per axis, and any tile of the result is ``rows_matrix @ masks @ columns_matrix.T`` over a
few rows and columns of the input. The result is that of `torch.nn.functional.interpolate`
(align_corners=False), step after step, up to the order of summation.

Letters: h w the input grid, y x a tile of the output, q channels (masks or classes).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class AxisMap:
    """One axis of a resizing: row i of `matrix` holds the weights of the input positions for output i."""

    matrix: Float[Tensor, "out inp"]

    def band(self, start: int, stop: int) -> tuple[slice, Float[Tensor, "o i"]]:
        """The input positions that outputs start..stop depend on, and their weights."""
        used = (self.matrix[start:stop] != 0).any(0).nonzero()[:, 0]
        span = slice(int(used[0]), int(used[-1]) + 1)
        return span, self.matrix[start:stop, span]

    def needed(self, start: int, stop: int) -> tuple[Int[Tensor, " i"], Float[Tensor, "o i"]]:
        """As `band`, without what lies between: when an axis shrinks, most positions are not looked at."""
        weights = self.matrix[start:stop]
        used = (weights != 0).any(0).nonzero()[:, 0]
        return used, weights[:, used]

    def only(self, outputs: Int[Tensor, " o"]) -> "AxisMap":
        """The map to some of the outputs."""
        return AxisMap(self.matrix[outputs])


@dataclass(frozen=True)
class Tile:
    """A rectangle of the output: rows and columns as slices."""

    rows: slice
    columns: slice


def axis_map(size: int, out: int, *, device: torch.device) -> AxisMap:
    """Bilinear resizing of an axis of `size` positions to `out` positions."""
    identity = torch.eye(size, device=device)[None]
    return AxisMap(F.interpolate(identity, size=out, mode="linear", align_corners=False)[0].T.contiguous())


def chained(first: AxisMap, keep: int, out: int) -> AxisMap:
    """Resize by `first`, keep the leading `keep` positions, resize those to `out`."""
    second = axis_map(keep, out, device=first.matrix.device)
    return AxisMap(second.matrix @ first.matrix[:keep])


def tiles(height: int, width: int, *, rows: int, columns: int) -> Iterator[Tile]:
    """Rectangles of at most rows x columns that cover height x width, row by row."""
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield Tile(slice(top, min(top + rows, height)), slice(left, min(left + columns, width)))


def resample(
    grid: Float[Tensor, "h w q"], row_map: AxisMap, column_map: AxisMap, tile: Tile
) -> Float[Tensor, "y x q"]:
    """A tile of the resized grid."""
    row_span, row_weights = row_map.band(tile.rows.start, tile.rows.stop)
    column_span, column_weights = column_map.band(tile.columns.start, tile.columns.stop)
    source = grid[row_span, column_span]
    vertical = row_weights @ source.flatten(1)
    resized: Tensor = column_weights @ vertical.unflatten(1, source.shape[1:])
    return resized
