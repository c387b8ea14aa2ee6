"""From the matches of many pictures to average precision and recall, class by class.

`official` is pycocotools' own accumulation. `weighted` gives the same numbers for any number of weightings of
the pictures at once, which the bootstrap needs; with every picture counted once the two agree.

Why `weighted` needs the found instances alone: recall only grows where an instance is found, and what comes
between two of them can only lower precision, which the envelope takes away.
"""

import io
from contextlib import redirect_stdout

import numpy as np
from jaxtyping import Float, Int64
from pycocotools.cocoeval import COCOeval

from ovseg.evaluation.class_sums import ratio
from ovseg.evaluation.coco_matching import MAX_DETECTIONS, PARAMS
from ovseg.evaluation.instance_matches import OVERLAPS, ClassMatches

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The numbers of `COCOeval.summarize`, in its order.

AP is average precision, AR average recall. 50 and 75 is one overlap, otherwise it is the mean over all; s, m
and l are small (at most 32 x 32 pixels), medium (at most 96 x 96) and large instances; 1, 10 and 100 is the
most detections per class and picture, 100 otherwise.
"""

AT_50, AT_75 = 0, 5

BLOCK_VALUES = 1 << 22
"""Detections times weightings of one block: what is kept of them stays below a hundred megabytes."""


def official(matches: ClassMatches) -> Float[np.ndarray, " numbers"]:
    """What pycocotools says of a class: `NAMES`, in 0..1, NaN where there is no true instance that counts."""
    evaluation = _filled(matches)
    with redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats)


def _filled(matches: ClassMatches) -> COCOeval:
    """A `COCOeval` of one class as `evaluate` would leave it.

    All true instances are in a picture of their own, since only their count matters.
    """
    detections = np.split(np.arange(len(matches.scores)), np.flatnonzero(matches.rank == 0)[1:])
    nothing = np.zeros(0, np.int64)
    evaluation = COCOeval(iouType="segm")
    evaluation.params.catIds = [0]
    evaluation.params.imgIds = list(range(len(detections) + 1))
    evaluation._paramsEval = evaluation.params
    evaluation.evalImgs = [
        {
            "dtScores": matches.scores[rows],
            "dtMatches": matches.matched[area][:, rows],
            "dtIgnore": matches.ignored[area][:, rows],
            "gtIgnore": np.zeros(count),
        }
        for area, total in enumerate(matches.true_counts.sum(axis=1))
        for rows, count in (*((rows, 0) for rows in detections), (nothing, total))
    ]
    return evaluation


def weighted(
    matches: ClassMatches, weights: Float[np.ndarray, "pictures resamples"]
) -> Float[np.ndarray, "numbers resamples"]:
    """`NAMES` of a class, in 0..1; NaN where there is no true instance that counts.

    Args:
        matches: of the class.
        weights: how often each picture counts.
    """
    step = max(1, BLOCK_VALUES // max(1, len(matches.scores)))
    starts = range(0, weights.shape[1], step)
    return np.concatenate([_weighted(matches, weights[:, start : start + step]) for start in starts], axis=1)


def _weighted(
    matches: ClassMatches, weights: Float[np.ndarray, "pictures resamples"]
) -> Float[np.ndarray, "numbers resamples"]:
    best_first = np.argsort(-matches.scores, kind="stable")
    precision, recall = zip(
        *(_curves(matches, best_first, area, weights) for area in range(len(PARAMS.areaRng))), strict=True
    )
    few = [_recall_of_few(matches, limit, weights) for limit in MAX_DETECTIONS[:-1]]
    means = [values.mean(axis=0) for values in (*precision, *few, *recall)]
    return np.stack([means[0], precision[0][AT_50], precision[0][AT_75], *means[1:]])


def _curves(
    matches: ClassMatches,
    best_first: Int64[np.ndarray, " n"],
    area: int,
    weights: Float[np.ndarray, "pictures resamples"],
) -> tuple[Float[np.ndarray, "overlaps resamples"], Float[np.ndarray, "overlaps resamples"]]:
    """Precision's mean over the 101 published points of recall, and the highest recall."""
    counts = ~matches.ignored[area][:, best_first]
    hits = matches.matched[area][:, best_first] & counts
    drawn = weights[matches.pictures[best_first]]
    # Most detections count at every overlap or at none: those are added up once.
    always = counts.all(axis=0)
    always_before, drawn_always = always.cumsum(), _cumulative(drawn[always])
    true = _true(matches, area, weights)
    precision, recall = np.empty((2, OVERLAPS, weights.shape[1]))
    for number in range(OVERLAPS):
        rows = np.flatnonzero(hits[number])
        sometimes = np.flatnonzero(counts[number] & ~always)
        sometimes_before = np.searchsorted(sometimes, rows, side="right")
        counted = drawn_always[always_before[rows]] + _cumulative(drawn[sometimes])[sometimes_before]
        found = _cumulative(drawn[rows])
        precision[number] = _mean_precision(found[1:], counted, true)
        recall[number] = ratio(found[-1], true)
    return precision, recall


def _mean_precision(
    found: Float[np.ndarray, "hits resamples"],
    counted: Float[np.ndarray, "hits resamples"],
    true: Float[np.ndarray, " resamples"],
) -> Float[np.ndarray, " resamples"]:
    """Mean of the envelope of precision.

    Args:
        found: true instances found up to each hit, that one included.
        counted: detections up to there that count.
        true: instances that are to be found.
    """
    envelope = np.maximum.accumulate((found / (counted + np.spacing(1)))[::-1], axis=0)[::-1]
    recall = ratio(found, np.broadcast_to(true, found.shape))
    points = np.searchsorted(PARAMS.recThrs, recall, side="right")
    points[1:] -= points[:-1].copy()
    return np.where(true > 0, (envelope * points).sum(axis=0) / len(PARAMS.recThrs), np.nan)


def _recall_of_few(
    matches: ClassMatches, limit: int, weights: Float[np.ndarray, "pictures resamples"]
) -> Float[np.ndarray, "overlaps resamples"]:
    """Recall, over all areas, with at most `limit` detections per picture."""
    hits = matches.matched[0] & ~matches.ignored[0] & (matches.rank < limit)
    found = np.stack([weights[matches.pictures[row]].sum(axis=0) for row in hits])
    return ratio(found, np.broadcast_to(_true(matches, 0, weights), found.shape))


def _cumulative(weights: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, "n_and_1 resamples"]:
    """Sums over the first rows: of none, one, two ..."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def _true(
    matches: ClassMatches, area: int, weights: Float[np.ndarray, "pictures resamples"]
) -> Float[np.ndarray, " resamples"]:
    """True instances that count."""
    counts = matches.true_counts[area][:, None]
    return np.asarray((counts * weights[matches.true_pictures]).sum(axis=0))
