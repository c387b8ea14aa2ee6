import pytest

from ovseg.config import compose_config, strict
from ovseg.run.training.schedule import Schedule
from ovseg.schema import TrainConfig


def test_the_official_recipe():
    """Iterations and rates of the official config: STEPS (327778, 355092), MAX_ITER 368750, GAMMA 0.1."""
    recipe = strict(compose_config("train", ["model=fcclip"]), TrainConfig).training
    schedule = Schedule(
        recipe.iterations, recipe.drops, recipe.drop_factor, recipe.warmup, recipe.warmup_factor
    )
    assert schedule.milestones == [327778, 355092]
    rates = [
        recipe.learning_rate * schedule.factor(i) for i in (0, 5, 327777, 327778, 355091, 355092, 368749)
    ]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6], rel=1e-12)
    assert (recipe.batch_size, recipe.weight_decay, recipe.clip_norm) == (16, 0.05, 0.01)
    assert (recipe.crop, recipe.scales, recipe.flip) == (1024, [0.1, 2.0], 0.5)


def test_shorter_runs_drop_at_the_same_shares():
    assert Schedule(900, [8 / 9, 26 / 27]).milestones == [800, 867]


def test_warm_up_grows_linearly():
    schedule = Schedule(100, warmup=4, warmup_factor=0.2)
    assert [schedule.factor(i) for i in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_a_drop_during_the_warm_up_counts_too():
    schedule = Schedule(10, [0.1], drop_factor=0.5, warmup=2, warmup_factor=0.0)
    assert schedule.factor(1) == pytest.approx(0.25)
