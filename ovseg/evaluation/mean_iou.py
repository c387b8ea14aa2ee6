"""Mean intersection over union and its relatives, from pixel counts over the whole data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ovseg.evaluation.class_sums import ClassSums, class_sums, mean_defined, ratio
from ovseg.evaluation.groups import Group, class_groups, harmonic_mean
from ovseg.evaluation.pixel_counts import COLUMNS, PixelCounts
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.evaluation.subject import Subject
from ovseg.interfaces import Record
from ovseg.types import Task


class MeanIoU(RecordMetric):
    """mIoU in both published conventions, fwIoU, mACC and pACC.

    They differ in what a class counts that is predicted somewhere and true nowhere. ``mIoU`` leaves it out
    (detectron2 since July 2022), ``mIoU/mmseg`` counts it as 0 (mmseg, detectron2 before). Where every class
    occurs in the truth they are equal.

    Values: ``mIoU``, ``mIoU/mmseg``; ``fwIoU``, the IoUs weighted by how often a class is true; ``mACC``, the
    mean over true classes of the part that was found; ``pACC``, the part of all pixels that is right. Each
    also over ``/seen`` and ``/unseen`` classes; ``mIoU/harmonic`` is the harmonic mean of those two of mIoU.

    Args:
        subject: the data set's classes.
        resamples: of the bootstrap intervals; 0 for none.
    """

    task: Task = "semantic"

    def __init__(self, *, subject: Subject, resamples: int = 1000) -> None:
        super().__init__(resamples=resamples)
        self.measure = PixelCounts(len(subject.vocabulary))
        self._groups = class_groups(subject, by_kind=False)

    def tally(self, records: Sequence[Record]) -> "PixelTally":
        """What records say together."""
        return PixelTally(class_sums(records, COLUMNS, self.measure.class_count), self._groups)


@dataclass(frozen=True)
class PixelTally:
    """Sums over pictures; see `ovseg.evaluation.bootstrap.Tally`.

    Attributes:
        sums: of `ovseg.evaluation.pixel_counts.COLUMNS`.
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
        """Values over all classes and over each group, in 0..100."""
        counts = self.sums.weighted(weights)
        values = {
            name + suffix: 100 * value
            for suffix, group in self.groups.items()
            for name, value in _over_classes(*counts[:, group]).items()
        }
        if "/seen" in self.groups:
            values["mIoU/harmonic"] = harmonic_mean(values["mIoU/seen"], values["mIoU/unseen"])
        return values

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """IoU (NaN without truth and prediction) and accuracy (NaN without truth), in 0..100."""
        correct, true, predicted = self.sums.weighted(np.ones((self.pictures, 1)))[:, :, 0]
        iou, accuracy = ratio(correct, true + predicted - correct), ratio(correct, true)
        return {"IoU": (100 * iou).tolist(), "ACC": (100 * accuracy).tolist()}


def _over_classes(
    correct: Float[np.ndarray, "k b"], true: Float[np.ndarray, "k b"], predicted: Float[np.ndarray, "k b"]
) -> Mapping[str, Float[np.ndarray, " b"]]:
    iou = ratio(correct, true + predicted - correct)
    pixels = true.sum(axis=0)
    return {
        "mIoU": mean_defined(np.where(true > 0, iou, np.nan)),
        "mIoU/mmseg": mean_defined(iou),
        "fwIoU": ratio(np.nansum(true * iou, axis=0), pixels),
        "mACC": mean_defined(ratio(correct, true)),
        "pACC": ratio(correct.sum(axis=0), pixels),
    }
