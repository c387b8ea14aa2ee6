"""How much a number would vary with other pictures of the same kind: percentile bootstrap over pictures.

Each resample draws as many pictures as there are, with replacement (Efron 1979). A resample is a column of
weights, how often each picture was drawn, so that a metric of sums needs no loop over resamples. Two runs
over the same pictures are compared under the same draws: what is hard in a picture then cancels out.

A class that few pictures show is missing from many resamples. Where most classes are such, an interval says
more about which classes were drawn than about the method, and may even lie beside the value.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from ovseg.errors import DataError

COVERAGE = 95
"""Percent of the resamples that lie within an interval."""

BLOCK = 100
"""Resamples at a time: few enough that what a metric keeps of them stays small for many classes."""

Interval = tuple[float, float]


@runtime_checkable
class Tally(Protocol):
    """What the records of some pictures say together, each picture counted as often as asked for."""

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        ...

    def values(
        self, weights: Float[np.ndarray, "pictures resamples"]
    ) -> Mapping[str, Float[np.ndarray, " resamples"]]:
        """Metric name -> value in 0..100 (NaN where not defined) per resample.

        Args:
            weights: how often each picture counts, in the order of the records.
        """
        ...

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """Metric name -> a value per class, every picture counted once."""
        ...


def point_values(tally: Tally) -> dict[str, float]:
    """Metric name -> value with every picture counted once."""
    return {name: float(value[0]) for name, value in tally.values(np.ones((tally.pictures, 1))).items()}


def intervals(tally: Tally, *, resamples: int, seed: int = 0) -> dict[str, Interval]:
    """Metric name -> (low, high) of each of a tally's values.

    Args:
        tally: of one run. The same pictures in the same order give the same intervals.
        resamples: how many to draw; 0 gives no intervals.
        seed: of the draws.

    Returns:
        Nothing for fewer than two pictures. NaN for a value that is defined in no resample; resamples in
        which it is not defined are left out.
    """
    drawn = [tally.values(weights) for weights in _weights(tally.pictures, resamples, seed)]
    return _percentiles(drawn)


def difference_intervals(
    first: Tally, second: Tally, *, resamples: int, seed: int = 0
) -> dict[str, Interval]:
    """Metric name -> (low, high) of first minus second, for the values that both have.

    Args:
        first: of a run.
        second: of another run over the same pictures, with its records in the same order.
        resamples: how many to draw; 0 gives no intervals.
        seed: of the draws.

    Raises:
        DataError: the runs have different counts of pictures.
    """
    if first.pictures != second.pictures:
        raise DataError(
            f"Paired intervals need the same pictures: one run has {first.pictures}, the other "
            f"{second.pictures}. Compare the pictures that both have."
        )
    drawn = []
    for weights in _weights(first.pictures, resamples, seed):
        ours, theirs = first.values(weights), second.values(weights)
        drawn.append({name: value - theirs[name] for name, value in ours.items() if name in theirs})
    return _percentiles(drawn)


def _weights(pictures: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "pictures resamples"]]:
    """Blocks of resamples; each column adds up to `pictures`."""
    random = np.random.default_rng(seed)
    for start in range(0, resamples if pictures > 1 else 0, BLOCK):
        count = min(BLOCK, resamples - start)
        drawn = random.integers(pictures, size=(count, pictures))
        slots = drawn * count + np.arange(count)[:, None]
        counts = np.bincount(slots.ravel(), minlength=pictures * count)
        yield counts.reshape(pictures, count).astype(np.float64)


def _percentiles(drawn: Sequence[Mapping[str, Float[np.ndarray, " _"]]]) -> dict[str, Interval]:
    names = drawn[0] if drawn else ()
    return {name: _percentile(np.concatenate([block[name] for block in drawn])) for name in names}


def _percentile(draws: Float[np.ndarray, " n"]) -> Interval:
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return (float("nan"), float("nan"))
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return (float(low), float(high))
