"""Average precision of instances as COCO publishes it.

What takes part: classes that are things in the data set's vocabulary. Predicted instances of stuff are left
out, as the official evaluators do, which know no others (COCO: 80 ids; ADE20K: 100 of 150).

Source: pycocotools 2.0, whose code decides matches and adds them up; detectron2's `COCOEvaluator` and
`InstanceSegEvaluator` follow the same rules, at 1, 10 and 100 detections per class and picture.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ovseg.evaluation.class_sums import mean_defined
from ovseg.evaluation.coco_accumulate import NAMES, ClassMatches, by_class, official, weighted
from ovseg.evaluation.coco_matching import InstanceMatching, Matches
from ovseg.evaluation.groups import Group, class_groups, harmonic_mean
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.evaluation.subject import Subject
from ovseg.interfaces import Record
from ovseg.types import Task


class AveragePrecision(RecordMetric):
    """COCO's average precision and recall.

    Where scores tie, the instance of the earlier picture goes first, as in pycocotools: the earlier by the
    number that the run puts into a record as ``picture``.

    Args:
        subject: the data set's classes.
        resamples: of the bootstrap intervals; 0 for none.

    Raises:
        ConfigError: `resamples` is negative.
    """

    task: Task = "instance"

    def __init__(self, *, subject: Subject, resamples: int = 1000) -> None:
        super().__init__(resamples=resamples)
        things = frozenset(index for index, entry in enumerate(subject.vocabulary.classes) if entry.is_thing)
        self._groups = class_groups(subject, by_kind=False)
        self.measure = InstanceMatching(len(subject.vocabulary), things)

    def tally(self, records: Sequence[Record]) -> "PrecisionTally":
        """What records say together."""
        return PrecisionTally(records, self.measure.class_count, self._groups)


class PrecisionTally:
    """Matches of all pictures; see `ovseg.evaluation.bootstrap.Tally`.

    Args:
        records: of each picture.
        class_count: length of the vocabulary.
        groups: suffix of the metric's name -> its classes.
    """

    def __init__(self, records: Sequence[Record], class_count: int, groups: Mapping[str, Group]) -> None:
        self.pictures = len(records)
        self._class_count = class_count
        self._groups = groups
        order = sorted(range(len(records)), key=lambda index: records[index].get("picture", 0))
        self._classes = by_class([Matches.from_record(record) for record in records], order)

    def values(
        self, weights: Float[np.ndarray, "pictures resamples"]
    ) -> Mapping[str, Float[np.ndarray, " resamples"]]:
        """Means over the classes with a true instance, in 0..100."""
        # With every picture counted once the published code itself can speak.
        if weights.shape[1] == 1 and (weights == 1).all():
            numbers = self._official
        else:
            numbers = self._of_classes(lambda matches: weighted(matches, weights), weights.shape[1])
        values = {
            f"{name}{suffix}": mean_defined(numbers[group, index])
            for suffix, group in self._groups.items()
            for index, name in enumerate(NAMES)
        }
        if "/seen" in self._groups:
            values["AP/harmonic"] = harmonic_mean(values["AP/seen"], values["AP/unseen"])
        return values

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """``AP`` and ``AP50`` of every class, NaN where it has no true instance."""
        return {name: self._official[:, NAMES.index(name), 0].tolist() for name in ("AP", "AP50")}

    @cached_property
    def _official(self) -> Float[np.ndarray, "k numbers 1"]:
        return self._of_classes(lambda matches: official(matches)[:, None], 1)

    def _of_classes(
        self, numbers: Callable[[ClassMatches], Float[np.ndarray, "numbers b"]], width: int
    ) -> Float[np.ndarray, "k numbers b"]:
        """The numbers of every class, in 0..100."""
        result = np.full((self._class_count, len(NAMES), width), np.nan)
        for label, matches in self._classes.items():
            result[label] = 100 * numbers(matches)
        return result
