"""Panoptic quality (arXiv 1801.00868): PQ = SQ x RQ, averaged over the classes that occur."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ovseg.evaluation.class_sums import ClassSums, class_sums, mean_defined, ratio
from ovseg.evaluation.groups import Group, class_groups, harmonic_mean
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.evaluation.segment_matching import COLUMNS, SegmentMatching
from ovseg.evaluation.subject import Subject
from ovseg.interfaces import Record
from ovseg.types import Task


class PanopticQuality(RecordMetric):
    """PQ, SQ and RQ by the rules of panopticapi (see `ovseg.evaluation.segment_matching`).

    Values: ``PQ``, ``SQ``, ``RQ``, and each over ``/things``, ``/stuff``, ``/seen``, ``/unseen`` classes;
    ``PQ/harmonic`` is the harmonic mean of PQ over seen and over unseen classes. Means are over the classes
    that have a match, a miss or a false segment; a class with misses but no match has an SQ of 0.

    Args:
        subject: the data set's classes.
        resamples: of the bootstrap intervals; 0 for none.
    """

    task: Task = "panoptic"

    def __init__(self, *, subject: Subject, resamples: int = 1000) -> None:
        super().__init__(resamples=resamples)
        self.measure = SegmentMatching(len(subject.vocabulary))
        self._groups = class_groups(subject, by_kind=True)

    def tally(self, records: Sequence[Record]) -> "QualityTally":
        """What records say together."""
        return QualityTally(class_sums(records, COLUMNS, self.measure.class_count), self._groups)


@dataclass(frozen=True)
class QualityTally:
    """Sums over pictures; see `ovseg.evaluation.bootstrap.Tally`.

    Attributes:
        sums: of `ovseg.evaluation.segment_matching.COLUMNS`.
        groups: suffix of the metric's name -> its classes.
    """

    sums: ClassSums
    groups: Mapping[str, Group]

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return self.sums.pictures

    def values(
        self, weights: Float[np.ndarray, "pictures resamples"]
    ) -> Mapping[str, Float[np.ndarray, " resamples"]]:
        """Means over classes, in 0..100."""
        qualities = self._qualities(weights)
        values = {
            name + suffix: mean_defined(quality[group])
            for suffix, group in self.groups.items()
            for name, quality in qualities.items()
        }
        if "/seen" in self.groups:
            values["PQ/harmonic"] = harmonic_mean(values["PQ/seen"], values["PQ/unseen"])
        return values

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """PQ, SQ and RQ of each class, in 0..100; NaN where it does not occur."""
        qualities = self._qualities(np.ones((self.pictures, 1)))
        return {name: quality[:, 0].tolist() for name, quality in qualities.items()}

    def _qualities(self, weights: Float[np.ndarray, "pictures b"]) -> Mapping[str, Float[np.ndarray, "k b"]]:
        iou, matches, false, missed = self.sums.weighted(weights)
        total = matches + false / 2 + missed / 2
        segmentation = np.where(total > 0, ratio(iou, matches, undefined=0.0), np.nan)
        return {"PQ": 100 * ratio(iou, total), "SQ": 100 * segmentation, "RQ": 100 * ratio(matches, total)}
