"""Average precision of instances as COCO publishes it.

What takes part: classes that are things in the data set's vocabulary. Predicted instances of stuff are left
out, as the official evaluators do, which know no others (COCO: 80 ids; ADE20K: 100 of 150).

Source: pycocotools 2.0, whose code decides matches and adds them up; detectron2's `COCOEvaluator` and
`InstanceSegEvaluator` follow the same rules, at 1, 10 and 100 detections per class and picture.
"""

from collections.abc import Sequence

from ovseg.evaluation.coco_accumulate import NAMES, official, weighted
from ovseg.evaluation.coco_matching import COCOMatching
from ovseg.evaluation.detections import thing_labels
from ovseg.evaluation.groups import class_groups
from ovseg.evaluation.precision_tally import PrecisionTally, Protocol
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.evaluation.subject import Subject
from ovseg.interfaces import Record
from ovseg.types import Task

COCO = Protocol(names=NAMES, names_per_class=("AP", "AP50"), weighted=weighted, once=official)


class AveragePrecision(RecordMetric):
    """COCO's average precision and recall; `ovseg.evaluation.coco_accumulate.NAMES` says what the names mean.

    Values over ``/seen`` and ``/unseen`` classes are means over those; ``AP/harmonic`` is the harmonic mean
    of AP over both. Where scores tie, the instance of the earlier picture goes first, as in pycocotools: the
    earlier by the number that the run puts into a record as ``picture``.

    Args:
        subject: the data set's classes.
        resamples: of the bootstrap intervals; 0 for none.
    """

    task: Task = "instance"

    def __init__(self, *, subject: Subject, resamples: int = 1000) -> None:
        super().__init__(resamples=resamples)
        self._groups = class_groups(subject, by_kind=False)
        self.measure = COCOMatching(len(subject.vocabulary), thing_labels(subject))

    def tally(self, records: Sequence[Record]) -> PrecisionTally:
        """What records say together."""
        return PrecisionTally(
            records, protocol=COCO, class_count=self.measure.class_count, groups=self._groups
        )
