"""Which of a picture's predicted instances find a true one, by COCO's rules and pycocotools' own code.

pycocotools decides every match (`COCOeval.evaluateImg`). What it is given in place of run lengths are the
overlaps themselves: bits of the masks are counted only inside the boxes of true instances of the same class,
which gives the same integers as encoding every predicted mask, in a tenth of the time.

Source: pycocotools 2.0, `cocoeval.py` and `mask.iou`; Lin et al., Microsoft COCO (2014), section 5.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Num
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval, Params

from ovseg.evaluation.views import both_views, check_labels, check_pair
from ovseg.interfaces import Record
from ovseg.truth import TrueInstance, Truth
from ovseg.types import Instances, Prediction

PARAMS = Params(iouType="segm")
THRESHOLDS: tuple[float, ...] = tuple(PARAMS.iouThrs.tolist())
AREAS: tuple[str, ...] = tuple(PARAMS.areaRngLbl)
MAX_DETECTIONS: tuple[int, ...] = tuple(PARAMS.maxDets)
BITS = 1 << np.arange(len(AREAS) * len(THRESHOLDS), dtype=np.int64)
"""The bit of each area range and overlap threshold, threshold by threshold within an area range."""


@dataclass(frozen=True)
class Matches:
    """What accumulating needs to know of one picture; detections class by class, best first.

    Attributes:
        labels, scores: of each detection.
        matched: whether it found a true instance, at each area range and overlap; a sum of `BITS`.
        ignored: whether it counts neither for nor against, as `matched`.
        true_labels: classes with true instances, each once.
        true_counts: of each of them, the true instances that count, per area range.
    """

    labels: Int64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    matched: Int64[np.ndarray, " n"]
    ignored: Int64[np.ndarray, " n"]
    true_labels: Int64[np.ndarray, " m"]
    true_counts: Int64[np.ndarray, "m areas"]

    def to_record(self) -> Record:
        """The same as plain JSON values."""
        return {key: value.tolist() for key, value in vars(self).items()}

    @classmethod
    def from_record(cls, record: Record) -> "Matches":
        """What `to_record` gave; other entries are left alone."""
        integers = {
            key: np.array(record[key], np.int64) for key in ("labels", "matched", "ignored", "true_labels")
        }
        counts = np.array(record["true_counts"], np.int64).reshape(-1, len(AREAS))
        return cls(scores=np.array(record["scores"], np.float64), true_counts=counts, **integers)


@dataclass(frozen=True)
class InstanceMatching:
    """Measures one picture: its `Matches`, as a record.

    Attributes:
        class_count: length of the data set's vocabulary.
        things: labels that take part.
    """

    class_count: int
    things: frozenset[int]

    def __call__(self, prediction: Prediction, truth: Truth) -> Record:
        """Match the picture's instances.

        Raises:
            DataError: sizes, counts of classes or labels do not fit, or one has no instance view.
        """
        check_pair(prediction, truth, self.class_count)
        found, true = both_views(prediction.instances, truth.instances, "instance")
        for whose, labels in (
            ("prediction", found.labels.tolist()),
            ("truth", [instance.label for instance in true]),
        ):
            check_labels(min(labels, default=0), max(labels, default=0), whose, self.class_count)
        return match(found, true, self.things).to_record()


def match(found: Instances, true: Sequence[TrueInstance], classes: Collection[int]) -> Matches:
    """Match the instances of one picture.

    Args:
        found: predicted instances; ties of their scores are kept in their order.
        true: in the order of the annotations; crowds may be found any number of times and count for nothing.
        classes: labels that take part; instances of others are left out.
    """
    order = _best_first(found, classes)
    labels = found.labels.numpy()[order].astype(np.int64)
    scores = found.scores.numpy()[order].astype(np.float64)
    masks = [found.masks.numpy()[index] for index in order]
    true = [instance for instance in true if instance.label in classes]
    true_labels = np.array([instance.label for instance in true], np.int64)
    areas = np.array([np.count_nonzero(mask) for mask in masks], np.int64)
    # Where a class has no true instance, this is all that evaluateImg would find.
    matched = np.zeros(len(order), np.int64)
    ignored = BITS @ np.repeat(~_within(areas), len(THRESHOLDS), axis=0)
    for label in np.intersect1d(labels, true_labels).tolist():
        start, end = np.searchsorted(labels, [label, label + 1])
        matched[start:end], ignored[start:end] = _match_class(
            masks[start:end],
            scores[start:end],
            areas[start:end],
            [instance for instance in true if instance.label == label],
        )
    present, place = np.unique(true_labels, return_inverse=True)
    counts = np.zeros((len(present), len(AREAS)), np.int64)
    is_crowd = np.array([instance.is_crowd for instance in true], np.bool_)
    np.add.at(counts, place, (_within(np.array([instance.area for instance in true])) & ~is_crowd).T)
    return Matches(labels, scores, matched, ignored, present, counts)


def _best_first(found: Instances, classes: Collection[int]) -> Int[np.ndarray, " m"]:
    """Indices of the detections that take part: class by class, of each the best ones, best first."""
    labels, scores = found.labels.numpy(), found.scores.numpy()
    order = np.lexsort((-scores, labels))
    order = order[np.isin(labels[order], list(classes))]
    rank = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    return order[rank < MAX_DETECTIONS[-1]]


def _within(areas: Num[np.ndarray, " n"]) -> Bool[np.ndarray, "areas n"]:
    """Whether an area lies in each of the ranges, ends included."""
    return np.array([(areas >= low) & (areas <= high) for low, high in PARAMS.areaRng])


def _match_class(
    masks: Sequence[Bool[np.ndarray, "_ _"]],
    scores: Float64[np.ndarray, " n"],
    areas: Int64[np.ndarray, " n"],
    true: Sequence[TrueInstance],
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """`Matches.matched` and `Matches.ignored` of one class that was both predicted and there."""
    evaluation = COCOeval(iouType="segm")
    evaluation._dts[0, 0] = [
        {"id": number, "score": score, "area": area}
        for number, (score, area) in enumerate(zip(scores.tolist(), areas.tolist(), strict=True), start=1)
    ]
    evaluation._gts[0, 0] = [
        {"id": number, "area": instance.area, "iscrowd": instance.is_crowd, "ignore": instance.is_crowd}
        for number, instance in enumerate(true, start=1)
    ]
    evaluation.ious[0, 0] = overlaps(masks, areas, true)
    results = [evaluation.evaluateImg(0, 0, area, MAX_DETECTIONS[-1]) for area in PARAMS.areaRng]
    matched = np.concatenate([result["dtMatches"] > 0 for result in results])
    return BITS @ matched, BITS @ np.concatenate([result["dtIgnore"] for result in results])


def overlaps(
    masks: Sequence[Bool[np.ndarray, "_ _"]], areas: Int64[np.ndarray, " n"], true: Sequence[TrueInstance]
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every mask with every true instance, as `pycocotools.mask.iou` gives it.

    The union with a crowd is the predicted mask alone.
    """
    result = np.zeros((len(masks), len(true)))
    for column, instance in enumerate(true):
        left, top, width, height = (int(value) for value in coco_mask.toBbox(instance.mask))
        box = np.s_[top : top + height, left : left + width]
        inside = np.ascontiguousarray(coco_mask.decode(instance.mask)[box]).view(np.bool_)
        common = np.array([np.count_nonzero(mask[box] & inside) for mask in masks])
        union = areas if instance.is_crowd else areas + np.count_nonzero(inside) - common
        result[:, column] = common / np.maximum(union, 1)
    return result
