"""Points of the loss: how they are drawn, in which order, and where they fall."""

import pytest
import torch
from torch import Tensor

from ovseg.models.fcclip.point_sampling import (
    LayerPoints,
    PointPlan,
    draw_points,
    loss_points,
    sample_all,
    sample_each,
)

CPU = torch.device("cpu")


def plan(points: int = 8, oversampling: float = 3.0, uncertain_share: float = 0.75) -> PointPlan:
    return PointPlan(points, oversampling, uncertain_share)


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_draws_are_the_official_calls_in_their_order() -> None:
    drawn = draw_points(plan(), [2, 3], generators=seeded(5), device=CPU)
    source = seeded(5)
    first, second = (torch.rand(1, 8, 2, generator=source) for _ in range(2))
    assert torch.equal(drawn.matching, torch.cat([first, second]))
    assert torch.equal(drawn.candidates, torch.rand(5, 24, 2, generator=source))
    assert torch.equal(drawn.rest, torch.rand(5, 2, 2, generator=source))


def test_without_a_generator_torchs_own_is_used() -> None:
    torch.manual_seed(5)
    ours = draw_points(plan(), [1], generators=None, device=CPU)
    theirs = draw_points(plan(), [1], generators=seeded(5), device=CPU)
    assert torch.equal(ours.matching, theirs.matching)
    assert torch.equal(ours.rest, theirs.rest)


def test_with_a_generator_per_picture_company_does_not_matter() -> None:
    together = draw_points(plan(), [2, 0, 3], generators=[seeded(1), seeded(2), seeded(3)], device=CPU)
    alone = [
        draw_points(plan(), [n], generators=[seeded(s)], device=CPU) for s, n in ((1, 2), (2, 0), (3, 3))
    ]
    for part in ("matching", "candidates", "rest"):
        assert torch.equal(getattr(together, part), torch.cat([getattr(one, part) for one in alone]))


def test_the_most_uncertain_candidates_come_first_then_the_rest() -> None:
    logits = torch.linspace(-3, 5, 16).repeat(16, 1)[None]  # 0 is crossed once, from left to right
    drawn = draw_points(plan(40), [1], generators=seeded(0), device=CPU)
    points = loss_points(logits, drawn, plan(40))
    assert points.shape == (1, 40, 2)
    uncertain, rest = points[0, :30], points[0, 30:]
    assert torch.equal(rest, drawn.rest[0])
    values = sample_each(logits, drawn.candidates)[0].abs()
    found = sample_each(logits, uncertain[None])[0].abs()
    assert torch.equal(found, values.sort().values[:30])
    assert found.max() < values.median()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_of_uncertain_points(share: float) -> None:
    chosen = plan(10, uncertain_share=share)
    drawn = draw_points(chosen, [2], generators=seeded(0), device=CPU)
    points = loss_points(torch.randn(2, 6, 6), drawn, chosen)
    assert points.shape == (2, 10, 2)
    assert torch.equal(points, drawn.rest) == (share == 0.0)


def test_uniform_points_fill_the_square() -> None:
    drawn = draw_points(plan(20000), [1], generators=seeded(0), device=CPU)
    counts = torch.histogramdd(drawn.matching[0], bins=[4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert counts.sum() == 20000
    assert (counts - 1250).abs().max() < 5 * 1250**0.5


def test_no_masks_no_points() -> None:
    drawn = draw_points(plan(), [0, 0], generators=seeded(0), device=CPU)
    logits = torch.zeros(0, 4, 4)
    assert loss_points(logits, drawn, plan()).shape == (0, 8, 2)
    assert sample_each(logits, drawn.rest).shape == (0, 2)
    assert sample_all(logits, drawn.matching[0]).shape == (0, 8)


def bilinear(grid: Tensor, x: float, y: float) -> float:
    """At (x, y) in 0..1; cells have their values at their centres, outside is zero."""
    height, width = grid.shape
    total = 0.0
    for row in range(height):
        for column in range(width):
            near_x = max(0.0, 1 - abs(x * width - 0.5 - column))
            near_y = max(0.0, 1 - abs(y * height - 0.5 - row))
            total += near_x * near_y * float(grid[row, column])
    return total


def test_samples_are_bilinear_and_zero_outside() -> None:
    maps = torch.randn(3, 4, 5)
    points = torch.rand(3, 7, 2)
    points[:, 0] = 0.0  # a corner, a quarter of whose surroundings is the picture
    each = sample_each(maps, points)
    shared = sample_all(maps, points[0])
    for index in range(3):
        for place in range(7):
            own, first = points[index, place].tolist(), points[0, place].tolist()
            assert float(each[index, place]) == pytest.approx(bilinear(maps[index], *own), abs=1e-5)
            assert float(shared[index, place]) == pytest.approx(bilinear(maps[index], *first), abs=1e-5)
    assert float(each[0, 0]) == pytest.approx(float(maps[0, 0, 0]) / 4, abs=1e-6)


def test_gradients_reach_the_logits_not_the_choice() -> None:
    logits = torch.randn(2, 6, 6, requires_grad=True)
    drawn = draw_points(plan(), [2], generators=seeded(0), device=CPU)
    assert isinstance(drawn, LayerPoints)
    points = loss_points(logits, drawn, plan())
    assert not points.requires_grad
    sample_each(logits, points).sum().backward()
    assert logits.grad.sum() == pytest.approx(16, abs=4)  # every sample's weights sum to 1 inside
