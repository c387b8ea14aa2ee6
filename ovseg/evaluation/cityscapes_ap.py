"""Average precision of instances as Cityscapes publishes it.

What takes part: classes that are things in the data set's vocabulary, the publisher's eight with instances.

Source: cityscapesScripts 2, `evaluation/evalInstanceLevelSemanticLabeling.py`, without distances. Matching is
in `ovseg.evaluation.cityscapes_matching`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ovseg.evaluation.cityscapes_matching import CityscapesMatching
from ovseg.evaluation.class_sums import ratio
from ovseg.evaluation.detections import thing_labels
from ovseg.evaluation.groups import class_groups
from ovseg.evaluation.instance_matches import OVERLAPS, ClassMatches
from ovseg.evaluation.precision_tally import PrecisionTally, Protocol
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.evaluation.subject import Subject
from ovseg.interfaces import Record
from ovseg.types import Task

NAMES = ("AP", "AP50")


class CityscapesAP(RecordMetric):
    """AP over overlaps from 0.5 to 0.95 and AP50, of Cityscapes' own kind.

    It is not COCO's: precision is averaged over recall as it is, without an envelope, predictions on void are
    ignored, and instances below 100 pixels do not count. Values over ``/seen`` and ``/unseen`` classes are
    means over those; ``AP/harmonic`` is the harmonic mean of AP over both.

    Args:
        subject: the data set's classes.
        resamples: of the bootstrap intervals; 0 for none.
    """

    task: Task = "instance"

    def __init__(self, *, subject: Subject, resamples: int = 1000) -> None:
        super().__init__(resamples=resamples)
        self._groups = class_groups(subject, by_kind=False)
        self.measure = CityscapesMatching(len(subject.vocabulary), thing_labels(subject))

    def tally(self, records: Sequence[Record]) -> PrecisionTally:
        """What records say together."""
        return PrecisionTally(
            records, protocol=CITYSCAPES, class_count=self.measure.class_count, groups=self._groups
        )


def weighted(
    matches: ClassMatches, weights: Float[np.ndarray, "pictures resamples"]
) -> Float[np.ndarray, "numbers resamples"]:
    """`NAMES` of a class, in 0..1; NaN where there is no true instance that counts.

    Args:
        matches: of the class.
        weights: how often each picture counts.
    """
    best_first = np.argsort(-matches.scores, kind="stable")
    true = (matches.true_counts[0][:, None] * weights[matches.true_pictures]).sum(axis=0)
    precision = np.stack(
        [
            _area_under(
                matches.scores[rows],
                matches.matched[0, number, rows][:, None] * weights[matches.pictures[rows]],
                weights[matches.pictures[rows]],
                true,
            )
            for number in range(OVERLAPS)
            for rows in [best_first[~matches.ignored[0, number, best_first]]]
        ]
    )
    return np.stack([precision.mean(axis=0), precision[0]])


def _area_under(
    scores: Float[np.ndarray, " n"],
    found: Float[np.ndarray, "n resamples"],
    counted: Float[np.ndarray, "n resamples"],
    true: Float[np.ndarray, " resamples"],
) -> Float[np.ndarray, " resamples"]:
    """Area under precision over recall by the trapezoid rule, from precision 1 at recall 0.

    Args:
        scores: of the detections that count, best first; those with the same score make one point.
        found: how many true instances each finds.
        counted: how many detections each stands for.
        true: instances that are to be found.
    """
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    found_so_far = _after_nothing(found.cumsum(axis=0)[last])
    counted_so_far = _after_nothing(counted.cumsum(axis=0)[last])
    precision = ratio(found_so_far, counted_so_far, undefined=1.0)
    recall = ratio(found_so_far, np.broadcast_to(true, found_so_far.shape))
    area = ((precision[1:] + precision[:-1]) / 2 * np.diff(recall, axis=0)).sum(axis=0)
    return np.where(true > 0, area, np.nan)


def _after_nothing(sums: Float[np.ndarray, "points resamples"]) -> Float[np.ndarray, "_ resamples"]:
    return np.concatenate([np.zeros((1, sums.shape[1])), sums])


CITYSCAPES = Protocol(names=NAMES, names_per_class=NAMES, weighted=weighted)
