"""Predicted instances in the order in which they are judged, and the pixels they share with true ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import mask as coco_mask

from ovseg.evaluation.subject import Subject
from ovseg.evaluation.views import both_views, check_labels, check_pair
from ovseg.truth import IGNORED, RunLengths, TrueInstance, Truth
from ovseg.types import Instances, Prediction


@dataclass(frozen=True)
class Detections:
    """Predicted instances class by class, best first; ties keep the order in which they were predicted.

    Attributes:
        labels, scores: of each.
        masks: true inside.
        areas: pixels.
    """

    labels: Int64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    masks: Sequence[Bool[np.ndarray, "_ _"]]
    areas: Int64[np.ndarray, " n"]

    def with_pixels(self) -> "Detections":
        """Those that are not empty."""
        rows = np.flatnonzero(self.areas)
        masks = [self.masks[row] for row in rows.tolist()]
        return Detections(self.labels[rows], self.scores[rows], masks, self.areas[rows])

    def of_class(self, label: int) -> "tuple[slice, Detections]":
        """Where those of a class stand, and they alone."""
        start, end = np.searchsorted(self.labels, [label, label + 1]).tolist()
        rows = slice(start, end)
        return rows, Detections(self.labels[rows], self.scores[rows], self.masks[rows], self.areas[rows])


def thing_labels(subject: Subject) -> frozenset[int]:
    """The classes that have instances."""
    return frozenset(label for label, entry in enumerate(subject.vocabulary.classes) if entry.is_thing)


def detections(found: Instances, classes: Collection[int], *, per_class: int | None = None) -> Detections:
    """Put predicted instances in order.

    Args:
        found: of one picture.
        classes: labels that take part; instances of others are left out.
        per_class: how many of a class are kept at most; None keeps all.
    """
    labels, scores, masks = found.labels.numpy(), found.scores.numpy(), found.masks.numpy()
    order = np.lexsort((-scores, labels))
    order = order[np.isin(labels[order], list(classes))]
    rank = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    order = order[rank < (len(order) if per_class is None else per_class)]
    kept = [masks[index] for index in order]
    return Detections(
        labels=labels[order].astype(np.int64),
        scores=scores[order].astype(np.float64),
        masks=kept,
        areas=np.array([np.count_nonzero(mask) for mask in kept], np.int64),
    )


def common_pixels(
    masks: Sequence[Bool[np.ndarray, "_ _"]], true: Sequence[RunLengths]
) -> Int64[np.ndarray, "n m"]:
    """How many pixels each of `masks` shares with each true mask.

    They are counted inside the true masks' boxes, which is quicker than making run lengths of every predicted
    mask, and gives the same integers.
    """
    result = np.zeros((len(masks), len(true)), np.int64)
    for column, run_lengths in enumerate(true):
        left, top, width, height = (int(value) for value in coco_mask.toBbox(run_lengths))
        box = np.s_[top : top + height, left : left + width]
        inside = np.ascontiguousarray(coco_mask.decode(run_lengths)[box]).view(np.bool_)
        result[:, column] = [np.count_nonzero(mask[box] & inside) for mask in masks]
    return result


def checked_instances(
    prediction: Prediction, truth: Truth, class_count: int
) -> tuple[Instances, tuple[TrueInstance, ...]]:
    """The instances to compare. A true one of no class that is evaluated may have the label `IGNORED`.

    Raises:
        DataError: sizes, counts of classes or labels do not fit, or one has no instance view.
    """
    check_pair(prediction, truth, class_count)
    found, true = both_views(prediction.instances, truth.instances, "instance")
    labels, true_labels = found.labels.tolist(), [instance.label for instance in true]
    check_labels(min(labels, default=0), max(labels, default=0), "prediction", class_count)
    check_labels(
        min(true_labels, default=0), max(true_labels, default=0), "truth", class_count, first=IGNORED
    )
    return found, true
