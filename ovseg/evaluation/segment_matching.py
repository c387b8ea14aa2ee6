"""Which predicted segments are true ones: the rules of panopticapi (arXiv 1801.00868, section 4).

Source of the rules: ``panopticapi/evaluation.py``. A true segment's area is counted in its map; panopticapi
takes it from the annotation, which says the same in maps that are consistent.

Letters: m true segments, n predicted segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer

from ovseg.errors import DataError
from ovseg.evaluation.class_sums import sparse
from ovseg.evaluation.views import both_views, check_labels, check_pair
from ovseg.interfaces import Record
from ovseg.truth import TrueSegment, Truth
from ovseg.types import Prediction, Segment

COLUMNS = ("iou", "tp", "fp", "fn")
"""Per class: sum of the matches' IoU, matches, predicted and true segments without a match."""


@dataclass(frozen=True)
class SegmentMatching:
    """A picture's share of panoptic quality; small, so that worker processes can be sent it.

    Attributes:
        class_count: length of the data set's vocabulary.
    """

    class_count: int

    def __call__(self, prediction: Prediction, truth: Truth) -> Record:
        """Match the segments of one picture.

        Returns:
            ``classes`` and, for each of them, `COLUMNS`.

        Raises:
            DataError: a panoptic view is missing, sizes or classes differ, or the prediction is no partition
                into the segments that it lists.
        """
        check_pair(prediction, truth, self.class_count)
        predicted, true = both_views(prediction.panoptic, truth.panoptic, "panoptic")
        ids, labels = self._table(predicted.segments, "prediction")
        true_ids, true_labels = self._table(true.segments, "truth")
        crowd = np.array([segment.is_crowd for segment in true.segments], dtype=bool)
        overlap = _overlap(true.ids, true_ids, predicted.ids.numpy(), ids)
        _check_partition(overlap, ids)
        return _record(overlap, true_labels, crowd, labels, self.class_count)

    def _table(
        self, segments: Sequence[Segment] | Sequence[TrueSegment], whose: str
    ) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
        """Ids and labels."""
        labels = [segment.label for segment in segments]
        check_labels(min(labels, default=0), max(labels, default=0), whose, self.class_count)
        return np.array([segment.id for segment in segments], np.int64), np.array(labels, np.int64)


def _overlap(
    true_ids: Integer[np.ndarray, "h w"],
    true_listed: Int[np.ndarray, " m"],
    ids: Integer[np.ndarray, "h w"],
    listed: Int[np.ndarray, " n"],
) -> Int[np.ndarray, "m_and_2 n_and_2"]:
    """Pixels that each pair of segments shares; first stands 0 (void, nothing), last any id not listed.

    Segments are regions, so neighbours mostly agree: only where they do not is an id looked up.
    """
    true_flat, flat = true_ids.ravel(), ids.ravel()
    changes = (true_flat[1:] != true_flat[:-1]) | (flat[1:] != flat[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(starts, append=len(flat))
    shape = (len(true_listed) + 2, len(listed) + 2)
    pairs = _position(true_flat[starts], true_listed) * shape[1] + _position(flat[starts], listed)
    pixels = np.bincount(pairs, weights=lengths, minlength=shape[0] * shape[1])
    return pixels.astype(np.int64).reshape(shape)


def _position(values: Integer[np.ndarray, " r"], listed: Int[np.ndarray, " s"]) -> Int[np.ndarray, " r"]:
    """Where each value stands in the list, from 1; 0 for 0, one past the end if it is not there."""
    known = np.concatenate([[0], listed])
    order = np.argsort(known)
    places = np.minimum(np.searchsorted(known[order], values), len(listed))
    return np.where(known[order][places] == values, order[places], len(known))


def _check_partition(overlap: Int[np.ndarray, "_ n_and_2"], ids: Int[np.ndarray, " n"]) -> None:
    """panopticapi refuses these too: they are errors of the method or of the file they come from."""
    area = overlap.sum(axis=0)
    if area[-1]:
        raise DataError(f"The prediction has {area[-1]} pixels whose id belongs to no listed segment.")
    if not area[1:-1].all():
        raise DataError(f"The predicted segment {ids[np.argmin(area[1:-1])]} has no pixel.")


def _record(
    overlap: Int[np.ndarray, "m_and_2 n_and_2"],
    true_labels: Int[np.ndarray, " m"],
    crowd: Bool[np.ndarray, " m"],
    labels: Int[np.ndarray, " n"],
    class_count: int,
) -> Record:
    """Match, then count."""
    shared = overlap[1:-1, 1:-1]
    void = overlap[0, 1:-1]
    area = overlap.sum(axis=0)[1:-1]
    union = overlap.sum(axis=1)[1:-1, None] + area - void - shared
    comparable = (true_labels[:, None] == labels) & ~crowd[:, None]
    # More than half can be true of one pair only, so that nothing has to be assigned.
    true_index, index = np.nonzero(comparable & (2 * shared > union))
    found = np.isin(np.arange(len(true_labels)), true_index)
    right = np.isin(np.arange(len(labels)), index)
    excused = 2 * (void + _crowd_of_class(overlap, true_labels, crowd, labels, class_count)) > area

    def per_class(of: Int[np.ndarray, " _"]) -> Int[np.ndarray, " k"]:
        return np.bincount(of, minlength=class_count)

    matched = true_labels[true_index]
    ious = shared[true_index, index] / union[true_index, index]
    columns = (
        np.bincount(matched, weights=ious, minlength=class_count),
        per_class(matched),
        per_class(labels[~right & ~excused]),
        per_class(true_labels[~found & ~crowd]),
    )
    return sparse(dict(zip(COLUMNS, columns, strict=True)))


def _crowd_of_class(
    overlap: Int[np.ndarray, "m_and_2 n_and_2"],
    true_labels: Int[np.ndarray, " m"],
    crowd: Bool[np.ndarray, " m"],
    labels: Int[np.ndarray, " n"],
    class_count: int,
) -> Int[np.ndarray, " n"]:
    """Pixels of each predicted segment on a crowd of its class; of several, panopticapi takes the last."""
    last_crowd = np.full(class_count, len(true_labels))
    last_crowd[true_labels[crowd]] = np.flatnonzero(crowd)
    row = last_crowd[labels]
    pixels = overlap[row + 1, np.arange(len(labels)) + 1]
    return np.where(row < len(true_labels), pixels, 0)
