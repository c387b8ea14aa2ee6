"""Deformable sampling: both ways against a loop over every place, pixel by pixel."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from ovseg.models.fcclip import deformable_attention as module
from ovseg.models.fcclip.deformable_attention import DeformableAttention, sample_by_bag, sample_by_grid

SIZES = [
    pytest.param([(3, 4), (6, 8), (12, 16)], id="pyramid"),
    pytest.param([(1, 1), (2, 1), (1, 7)], id="thin"),
    pytest.param([(5, 2)], id="one level"),
]
HEADS, POINTS, DIM = 2, 3, 4


def draw(
    sizes: list[tuple[int, int]], batch: int = 2, queries: int = 5, spread: float = 0.6
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, locations around the middle (some outside for a wide spread) and weights."""
    generator = torch.Generator().manual_seed(0)
    positions = sum(h * w for h, w in sizes)
    value = torch.randn(batch, positions, HEADS, DIM, generator=generator)
    shape = (batch, queries, HEADS, len(sizes), POINTS)
    locations = 0.5 + spread * torch.randn(*shape, 2, generator=generator)
    weights = torch.rand(shape, generator=generator)
    return value, locations, weights


def bilinear(grid: Tensor, x: float, y: float) -> Tensor:
    """Of an (h, w, d) grid at (x, y) in 0..1, zero outside."""
    height, width = grid.shape[:2]
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros(grid.shape[2], dtype=torch.float64)
    for r, c in itertools.product(
        (math.floor(row), math.floor(row) + 1), (math.floor(column), math.floor(column) + 1)
    ):
        if 0 <= r < height and 0 <= c < width:
            total += (1 - abs(row - r)) * (1 - abs(column - c)) * grid[r, c].double()
    return total


def naive(value: Tensor, locations: Tensor, weights: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    batch, queries, heads, levels, points = weights.shape
    result = torch.zeros(batch, queries, heads, value.shape[-1], dtype=torch.float64)
    parts = value.split([h * w for h, w in sizes], 1)
    grids = [part.unflatten(1, size) for part, size in zip(parts, sizes, strict=True)]
    for b, n, m, level, p in itertools.product(*map(range, (batch, queries, heads, levels, points))):
        x, y = locations[b, n, m, level, p].tolist()
        result[b, n, m] += float(weights[b, n, m, level, p]) * bilinear(grids[level][b, :, :, m], x, y)
    return result.flatten(2)


def assert_both_are_naive(value: Tensor, locations: Tensor, weights: Tensor, sizes) -> None:
    expected = naive(value, locations, weights, sizes)
    for sample in (sample_by_grid, sample_by_bag):
        found = sample(value, locations, weights, sizes)
        assert found.shape == expected.shape
        assert torch.allclose(found.double(), expected, atol=2e-5), sample.__name__


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("spread", [0.1, 0.6])
def test_anywhere(sizes: list[tuple[int, int]], spread: float) -> None:
    assert_both_are_naive(*draw(sizes, spread=spread), sizes)


@pytest.mark.parametrize("sizes", SIZES)
def test_far_outside_is_nothing(sizes: list[tuple[int, int]]) -> None:
    value, locations, weights = draw(sizes)
    for far in (-1e4, -3.0, 4.0, 1e4):
        for axis in range(2):
            moved = locations.clone()
            moved[..., axis] = far
            for sample in (sample_by_grid, sample_by_bag):
                assert not sample(value, moved, weights, sizes).any()


@pytest.mark.parametrize("sizes", SIZES)
def test_on_and_around_the_border(sizes: list[tuple[int, int]]) -> None:
    """Corners, edges, centres of the outermost cells, and half a cell outside, where the last share ends."""
    value, _, weights = draw(sizes, batch=1, queries=25)
    locations = torch.empty(1, 25, HEADS, len(sizes), POINTS, 2)
    for level, (height, width) in enumerate(sizes):
        columns, rows = (
            (-0.5 / size, 0.0, 0.5 / size, 1 - 0.5 / size, 1 + 0.5 / size) for size in (width, height)
        )
        for query, (x, y) in enumerate(itertools.product(columns, rows)):
            locations[0, query, :, level] = torch.tensor([x, y])
    assert_both_are_naive(value, locations, weights, sizes)


def test_centres_of_cells_give_the_cells() -> None:
    sizes = [(3, 4)]
    value = torch.randn(1, 12, 1, DIM)
    rows, columns = (torch.arange(3) + 0.5) / 3, (torch.arange(4) + 0.5) / 4
    places = torch.stack([columns.repeat(3), rows.repeat_interleave(4)], -1)[None, :, None, None, None]
    for sample in (sample_by_grid, sample_by_bag):
        found = sample(value, places, torch.ones(1, 12, 1, 1, 1), sizes)
        assert torch.allclose(found, value[:, :, 0], atol=1e-5)


def test_slices_of_queries_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(3, 4), (6, 8)]
    inputs = draw(sizes, queries=11)
    whole = sample_by_bag(*inputs, sizes)
    monkeypatch.setattr(module, "QUERIES_PER_SLICE", 4)
    assert torch.allclose(sample_by_bag(*inputs, sizes), whole, atol=1e-6)


def test_the_inputs_are_left_alone() -> None:
    sizes = [(3, 4), (6, 8)]
    inputs = draw(sizes)
    copies = [tensor.clone() for tensor in inputs]
    for sample in (sample_by_grid, sample_by_bag):
        sample(*inputs, sizes)
        assert all(torch.equal(tensor, copy) for tensor, copy in zip(inputs, copies, strict=True))


def test_gradients_flow() -> None:
    """Against float64 differences, in the value, the locations and the weights."""
    sizes = [(2, 3), (4, 5)]
    value, locations, weights = (tensor.double() for tensor in draw(sizes, batch=1, queries=2, spread=0.2))
    inputs = tuple(tensor.requires_grad_() for tensor in (value, locations, weights))
    assert torch.autograd.gradcheck(lambda *given: sample_by_grid(*given, sizes), inputs, atol=1e-5)


@torch.no_grad()
def naive_attention(
    made: DeformableAttention, query: Tensor, value: Tensor, references: Tensor, sizes: list[tuple[int, int]]
) -> Tensor:
    """Offsets count in cells of their level, a head's weights sum to 1, heads are slices of the channels."""

    def project(layer: nn.Linear, x: Tensor, *shape: int) -> Tensor:
        y = x.double() @ layer.weight.double().T + layer.bias.double()
        return y.reshape(*x.shape[:2], *shape)

    places = (HEADS, len(sizes), POINTS)
    scores = project(made.attention_weights, query, HEADS, -1).exp()
    weights = (scores / scores.sum(-1, keepdim=True)).unflatten(-1, places[1:])
    locations = project(made.sampling_offsets, query, *places, 2)
    for level, (height, width) in enumerate(sizes):
        locations[:, :, :, level] /= torch.tensor([width, height])
    locations += references.double()[:, None, None, None]
    rows = project(made.value_proj, value, HEADS, -1)
    return project(made.output_proj, naive(rows, locations, weights, sizes), -1)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_module_with_and_without_gradients(sizes: list[tuple[int, int]]) -> None:
    made = DeformableAttention(dim=16, heads=HEADS, levels=len(sizes), points=POINTS)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    query, value = torch.randn(2, 5, 16), torch.randn(2, sum(h * w for h, w in sizes), 16)
    references = torch.rand(5, 2)
    expected = naive_attention(made, query, value, references, sizes)
    with_gradients = made(query, value, references, sizes)
    with torch.no_grad():
        without = made(query, value, references, sizes)
    assert with_gradients.requires_grad
    assert torch.allclose(with_gradients.double(), expected, atol=2e-5)
    assert torch.allclose(without.double(), expected, atol=2e-5)
