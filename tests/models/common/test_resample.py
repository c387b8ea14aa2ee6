"""Tiled resizing against `interpolate` on the whole picture."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg.models.common.resample import Tile, axis_map, chained, resample, tiles

CPU = torch.device("cpu")


def naive_weights(size: int, out: int) -> Tensor:
    """Half-pixel centres, clamped at the borders, position by position."""
    matrix = torch.zeros(out, size, dtype=torch.float64)
    for i in range(out):
        place = max((i + 0.5) * size / out - 0.5, 0.0)
        low = min(int(place), size - 1)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, size - 1)] += place - low
    return matrix


@pytest.mark.parametrize(
    ("size", "out"), [(1, 1), (1, 7), (7, 1), (5, 20), (20, 5), (13, 17), (17, 13), (6, 6)]
)
def test_axis_map(size: int, out: int) -> None:
    matrix = axis_map(size, out, device=CPU).matrix
    assert torch.allclose(matrix.double(), naive_weights(size, out), atol=1e-6)
    assert torch.allclose(matrix.sum(1), torch.ones(out), atol=1e-6)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 20), (19, 20), (7, 11)])
def test_a_band_holds_all_that_its_outputs_need(start: int, stop: int) -> None:
    axis = axis_map(5, 20, device=CPU)
    span, weights = axis.band(start, stop)
    x = torch.arange(5.0) ** 2
    assert torch.allclose(weights @ x[span], (axis.matrix @ x)[start:stop])
    assert weights.shape == (stop - start, span.stop - span.start)
    assert span.stop - span.start <= (stop - start) * 5 // 20 + 2


@pytest.mark.parametrize(("size", "out"), [(5, 20), (40, 4), (7, 7)])
def test_what_outputs_need_one_by_one(size: int, out: int) -> None:
    axis = axis_map(size, out, device=CPU)
    x = torch.arange(float(size)) ** 2
    for start, stop in ((0, 1), (1, 4), (0, out)):
        places, weights = axis.needed(start, stop)
        assert len(places) <= 2 * (stop - start)
        assert torch.allclose(weights @ x[places], (axis.matrix @ x)[start:stop])
    some = torch.tensor([3, 0])
    assert torch.equal(axis.only(some).matrix, axis.matrix[[3, 0]])


@pytest.mark.parametrize(
    ("size", "first", "keep", "out"), [(8, 32, 25, 40), (8, 32, 31, 9), (3, 12, 1, 5), (4, 16, 16, 1)]
)
def test_chained_is_enlarge_crop_resize(size: int, first: int, keep: int, out: int) -> None:
    x = torch.randn(1, 2, size, dtype=torch.float64)
    enlarged = F.interpolate(x, size=first, mode="linear", align_corners=False)[..., :keep]
    expected = F.interpolate(enlarged, size=out, mode="linear", align_corners=False)[0]
    matrix = chained(axis_map(size, first, device=CPU), keep, out).matrix.double()
    assert torch.allclose(x[0] @ matrix.T, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "out"), [((6, 9), (23, 31)), ((16, 12), (5, 4)), ((1, 8), (1, 3)), ((7, 1), (14, 1))]
)
@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (100, 100), (3, 5), (1, 1)])
def test_tiles_together_are_the_whole(
    size: tuple[int, int], out: tuple[int, int], rows: int, columns: int
) -> None:
    grid = torch.randn(*size, 3)
    axes = [axis_map(n, m, device=CPU) for n, m in zip(size, out, strict=True)]
    result = torch.full((*out, 3), torch.nan)
    for tile in tiles(*out, rows=rows, columns=columns):
        assert result[tile.rows, tile.columns].isnan().all()
        result[tile.rows, tile.columns] = resample(grid, *axes, tile)
    expected = F.interpolate(grid.permute(2, 0, 1)[None], size=out, mode="bilinear", align_corners=False)[0]
    assert torch.allclose(result.permute(2, 0, 1), expected, atol=1e-5)


def test_tiles_keep_inside_their_bounds() -> None:
    assert list(tiles(5, 7, rows=3, columns=4)) == [
        Tile(slice(0, 3), slice(0, 4)),
        Tile(slice(0, 3), slice(4, 7)),
        Tile(slice(3, 5), slice(0, 4)),
        Tile(slice(3, 5), slice(4, 7)),
    ]
