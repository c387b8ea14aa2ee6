"""Pixel-adaptive refinement against its definition, pixel by pixel."""

import torch
from torch import Tensor

from ovseg.models.common import pamr as module
from ovseg.models.common.pamr import neighbour_weights, pamr


def around(x: Tensor, row: int, column: int, dilations: tuple[int, ...], *, own: bool) -> Tensor:
    """The values near one pixel, (c, n); beyond the border is the border."""
    height, width = x.shape[1:]
    found = []
    for distance in dilations:
        for dy in (-distance, 0, distance):
            for dx in (-distance, 0, distance):
                if own or (dy, dx) != (0, 0):
                    y, x_ = min(max(row + dy, 0), height - 1), min(max(column + dx, 0), width - 1)
                    found.append(x[:, y, x_])
    return torch.stack(found, dim=1)


def naive_weights(image: Tensor, dilations: tuple[int, ...]) -> Tensor:
    height, width = image.shape[1:]
    weights = torch.zeros(8 * len(dilations), height, width)
    for y in range(height):
        for x in range(width):
            deviation = around(image, y, x, dilations, own=True).std(1, keepdim=True)
            others = around(image, y, x, dilations, own=False)
            likeness = -(image[:, y, x, None] - others).abs() / (1e-8 + 0.1 * deviation)
            weights[:, y, x] = likeness.mean(0).softmax(0)
    return weights


def test_weights_and_steps() -> None:
    image, maps, dilations = torch.rand(3, 6, 5), torch.rand(4, 6, 5), (1, 2)
    weights = naive_weights(image, dilations)
    assert torch.allclose(neighbour_weights(image, dilations), weights, atol=1e-5)
    expected = maps
    for _ in range(2):
        step = torch.zeros_like(maps)
        for y in range(6):
            for x in range(5):
                step[:, y, x] = around(expected, y, x, dilations, own=False) @ weights[:, y, x]
        expected = step
    assert torch.allclose(pamr(maps, image, steps=2, dilations=dilations), expected, atol=1e-5)


def test_maps_in_parts_and_a_picture_below_the_distances(monkeypatch) -> None:
    image, maps = torch.rand(3, 2, 1), torch.rand(5, 2, 1)
    whole = pamr(maps, image, steps=3, dilations=(8, 16))
    monkeypatch.setattr(module, "MAPS_AT_ONCE", 2)
    assert torch.equal(pamr(maps, image, steps=3, dilations=(8, 16)), whole)
    assert whole.isfinite().all()
