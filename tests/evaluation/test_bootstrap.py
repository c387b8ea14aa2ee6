"""Bootstrap intervals: against a loop that evaluates each resample anew, and against a known distribution."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from helpers.drawn_segments import SUBJECT, draw

from ovseg.errors import DataError
from ovseg.evaluation.bootstrap import BLOCK, _weights, difference_intervals, intervals, point_values
from ovseg.evaluation.mean_iou import MeanIoU
from ovseg.evaluation.panoptic_quality import PanopticQuality

RESAMPLES = BLOCK + 7


@dataclass(frozen=True)
class Mean:
    """The mean of a number per picture; NaN pictures are left out."""

    numbers: np.ndarray

    @property
    def pictures(self):
        return len(self.numbers)

    def values(self, weights):
        there = ~np.isnan(self.numbers)
        with np.errstate(invalid="ignore"):
            mean = (self.numbers[there] @ weights[there]) / weights[there].sum(axis=0)
        return {"mean": mean}

    def per_class(self):
        return {}


def records_of(make, seeds):
    measure = make(subject=SUBJECT, resamples=0).measure
    pictures = [draw(seed) for seed in seeds]
    return [measure(drawn.prediction, drawn.truth) for drawn in pictures]


def values_of(make, records):
    metric = make(subject=SUBJECT, resamples=0)
    for record in records:
        metric.update(record)
    return metric.compute().values


def all_weights(pictures):
    return np.concatenate(list(_weights(pictures, RESAMPLES, 0)), axis=1).astype(int)


@pytest.mark.parametrize("make", [PanopticQuality, MeanIoU], ids=lambda make: make.__name__)
def test_against_evaluating_each_resample_anew(make):
    pictures = 6
    ours, theirs = records_of(make, range(pictures)), records_of(make, range(50, 50 + pictures))
    tallies = [make(subject=SUBJECT, resamples=0).tally(records) for records in (ours, theirs)]
    single = intervals(tallies[0], resamples=RESAMPLES)
    paired = difference_intervals(*tallies, resamples=RESAMPLES)

    draws = []
    for counts in all_weights(pictures).T:
        chosen = np.repeat(np.arange(pictures), counts)
        draws.append([values_of(make, [run[index] for index in chosen]) for run in (ours, theirs)])
    assert single.keys() == paired.keys() == draws[0][0].keys()
    for name in single:
        first, second = np.array([[values[name] for values in draw] for draw in draws]).T
        assert not np.isnan(first).any()
        assert single[name] == pytest.approx(np.percentile(first, [2.5, 97.5]), abs=1e-9)
        assert paired[name] == pytest.approx(np.percentile(first - second, [2.5, 97.5]), abs=1e-9)
    assert point_values(tallies[0]) == pytest.approx(values_of(make, ours))


def test_weights_draw_with_replacement():
    weights = all_weights(40)
    assert weights.shape == (40, RESAMPLES)
    assert (weights.sum(axis=0) == 40).all()
    assert weights.max() > 3
    # The chance of not being drawn is (1 - 1/40)^40.
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 40) ** 40, abs=0.02)
    assert len(np.unique(weights, axis=1).T) == RESAMPLES


def test_the_interval_of_a_mean():
    numbers = np.random.default_rng(1).normal(50, 10, size=400)
    low, high = intervals(Mean(numbers), resamples=2000)["mean"]
    half = 1.96 * numbers.std() / math.sqrt(len(numbers))
    assert [low, high] == pytest.approx([numbers.mean() - half, numbers.mean() + half], abs=0.1)


def test_equal_runs_do_not_differ():
    numbers = np.random.default_rng(2).normal(50, 10, size=30)
    assert difference_intervals(Mean(numbers), Mean(numbers), resamples=50) == {"mean": (0, 0)}


def test_pairs_cancel_what_is_hard_in_a_picture():
    numbers = np.random.default_rng(3).normal(50, 10, size=100)
    better = difference_intervals(Mean(numbers + 1), Mean(numbers), resamples=200)["mean"]
    assert better == pytest.approx((1, 1))
    alone = intervals(Mean(numbers + 1), resamples=200)["mean"]
    assert alone[0] < numbers.mean() < alone[1]


def test_seeds():
    tally = Mean(np.arange(10.0))
    assert intervals(tally, resamples=50) == intervals(tally, resamples=50, seed=0)
    assert intervals(tally, resamples=50) != intervals(tally, resamples=50, seed=1)


def test_resamples_without_a_value_are_left_out():
    some = intervals(Mean(np.array([7.0, np.nan, np.nan])), resamples=50)["mean"]
    assert some == (7, 7)
    none = intervals(Mean(np.array([np.nan, np.nan])), resamples=50)["mean"]
    assert all(math.isnan(end) for end in none)


@pytest.mark.parametrize(("numbers", "resamples"), [([], 10), ([5.0], 10), ([5.0, 6.0], 0)])
def test_no_intervals(numbers, resamples):
    assert intervals(Mean(np.array(numbers)), resamples=resamples) == {}


def test_runs_of_other_pictures_are_refused():
    with pytest.raises(DataError, match="one run has 2, the other 3"):
        difference_intervals(Mean(np.arange(2.0)), Mean(np.arange(3.0)), resamples=5)
