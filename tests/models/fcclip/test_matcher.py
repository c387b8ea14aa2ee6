"""The matcher against all assignments, and its costs against their formulas."""

import itertools
import math

import pytest
import torch

from ovseg.models.fcclip.matcher import Weights, assign, match_costs

WEIGHTS = Weights(class_=2.0, mask=5.0, dice=5.0)


def cheapest(cost: torch.Tensor) -> float:
    """Over all ways to give each target (or proposal, if there are fewer) a partner of its own."""
    rows, columns = cost.shape
    if rows < columns:
        return cheapest(cost.T)
    ways = itertools.permutations(range(rows), columns)
    return min(sum(float(cost[row, column]) for column, row in enumerate(way)) for way in ways)


@pytest.mark.parametrize("shape", [(5, 3), (4, 4), (3, 5), (6, 1), (1, 4)])
def test_brute_force_finds_nothing_cheaper(shape: tuple[int, int]) -> None:
    costs = [torch.randn(shape) for _ in range(5)]
    for cost, (proposals, targets) in zip(costs, assign(costs), strict=True):
        assert len(proposals) == min(shape)
        assert len(set(proposals.tolist())) == len(set(targets.tolist())) == min(shape)
        assert proposals.tolist() == sorted(proposals.tolist())
        assert float(cost[proposals, targets].sum()) == pytest.approx(cheapest(cost), abs=1e-5)


def test_problems_of_different_sizes_do_not_mix() -> None:
    costs = [torch.randn(4, 2), torch.randn(4, 0), torch.randn(4, 6)]
    together = assign(costs)
    for cost, (proposals, targets) in zip(costs, together, strict=True):
        ((alone_proposals, alone_targets),) = assign([cost])
        assert proposals.tolist() == alone_proposals.tolist()
        assert targets.tolist() == alone_targets.tolist()
    assert together[1][0].numel() == 0
    assert assign([]) == []


def test_of_too_many_targets_the_best_fitting_are_kept() -> None:
    ((proposals, targets),) = assign([torch.tensor([[3.0, 1.0, 2.0], [3.0, 9.0, 2.0]])])
    assert (proposals.tolist(), targets.tolist()) == ([0, 1], [1, 2])


def test_costs_are_the_formulas() -> None:
    class_logits, values = torch.randn(4, 6), 3 * torch.randn(4, 50)
    labels, expected = torch.tensor([2, 0, 2]), torch.rand(3, 50)
    cost = match_costs(class_logits, values, labels, expected, WEIGHTS)
    for q, n in itertools.product(range(4), range(3)):
        exps = [math.exp(v) for v in class_logits[q].tolist()]
        probability = exps[int(labels[n])] / sum(exps)
        inside = [1 / (1 + math.exp(-v)) for v in values[q].tolist()]
        t = expected[n].tolist()
        bce = -sum(y * math.log(p) + (1 - y) * math.log(1 - p) for p, y in zip(inside, t, strict=True)) / 50
        overlap = sum(p * y for p, y in zip(inside, t, strict=True))
        dice = 1 - (2 * overlap + 1) / (sum(inside) + sum(t) + 1)
        assert float(cost[q, n]) == pytest.approx(-2 * probability + 5 * bce + 5 * dice, rel=1e-4)


def test_an_empty_target_prefers_the_emptiest_mask() -> None:
    values = torch.stack([torch.full((20,), 4.0), torch.full((20,), -4.0)])
    cost = match_costs(torch.zeros(2, 3), values, torch.tensor([1]), torch.zeros(1, 20), WEIGHTS)
    assert cost[1, 0] < cost[0, 0]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_numbers_that_are_none_do_not_stop_the_matching(broken: float) -> None:
    """The loss will show them; a scaler then only skips the step."""
    values = torch.randn(3, 10)
    values[0] = broken
    cost = match_costs(torch.zeros(3, 3), values, torch.tensor([0, 1]), torch.rand(2, 10), WEIGHTS)
    ((proposals, targets),) = assign([cost])
    assert proposals.tolist() == [1, 2]
    assert sorted(targets.tolist()) == [0, 1]


def test_large_logits_stay_finite() -> None:
    values = torch.tensor([[1e4] * 8, [-1e4] * 8])
    cost = match_costs(torch.zeros(2, 2), values, torch.tensor([0]), torch.ones(1, 8), WEIGHTS)
    assert cost[0, 0] == pytest.approx(-1.0, abs=1e-4)
    assert cost[1, 0] == pytest.approx(-1.0 + 5 * 1e4 + 5 * (1 - 1 / 9), rel=1e-4)
