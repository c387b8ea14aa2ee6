"""Resized positions against a bicubic sum written out, and against timm's, which differ."""

import math

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from ovseg.models.common.positions import resize_positions


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def axis(trained: int, wanted: int) -> Tensor:
    """(wanted, trained) weights of one axis; places outside count for the nearest inside."""
    weights = torch.zeros(wanted, trained, dtype=torch.float64)
    for place in range(wanted):
        source = (place + 0.5) * trained / (wanted + 0.1) - 0.5
        for tap in range(math.floor(source) - 1, math.floor(source) + 3):
            weights[place, min(max(tap, 0), trained - 1)] += cubic(source - tap)
    return weights


@pytest.mark.parametrize(
    ("trained", "grid"),
    [((14, 14), (21, 21)), ((16, 16), (24, 24)), ((14, 14), (9, 30)), ((4, 4), (2, 8)), ((14, 14), (7, 7))],
)
def test_bicubic_with_the_offset(trained: tuple[int, int], grid: tuple[int, int]) -> None:
    positions = torch.randn(1 + trained[0] * trained[1], 5)
    found = resize_positions(positions, trained, grid)
    old = positions[1:].double().unflatten(0, trained)
    rows, columns = (axis(*sizes) for sizes in zip(trained, grid, strict=True))
    expected = torch.einsum("ya,xb,abc->yxc", rows, columns, old).flatten(0, 1)
    assert torch.equal(found[0], positions[0])
    assert torch.allclose(found[1:].double(), expected, atol=1e-5)


def test_the_trained_square_is_kept() -> None:
    positions = torch.randn(17, 5)
    assert resize_positions(positions, (4, 4), (4, 4)) is positions


def test_it_is_not_timm_s_rule() -> None:
    positions = torch.randn(197, 5)
    theirs = resample_abs_pos_embed(positions[None], [21, 21], [14, 14])[0]
    assert (resize_positions(positions, (14, 14), (21, 21)) - theirs).abs().max() > 0.1
