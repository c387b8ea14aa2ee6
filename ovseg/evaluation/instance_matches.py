"""Which predicted instances find a true one: in one picture, as a record, and class by class in all pictures.

Both protocols of average precision, COCO's and Cityscapes', decide this at ten overlaps: a detection is
matched, ignored (it counts neither for nor against) or, if it is neither, false.

Letters: n detections, m (picture, class) pairs with true instances, areas ranges of size that are told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ovseg.interfaces import Record

OVERLAPS = 10
"""At how many overlaps instances are matched."""


@dataclass(frozen=True)
class Matches:
    """One picture; detections class by class, best first.

    Attributes:
        labels, scores: of each detection.
        matched, ignored: of each detection, bits of `packed`.
        true_labels: classes with true instances, each once.
        true_counts: the true instances of each of them that count.
    """

    labels: Int64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    matched: Int64[np.ndarray, " n"]
    ignored: Int64[np.ndarray, " n"]
    true_labels: Int64[np.ndarray, " m"]
    true_counts: Int64[np.ndarray, "areas m"]

    def to_record(self) -> Record:
        """The same as plain JSON values."""
        return {key: value.tolist() for key, value in vars(self).items()}

    @classmethod
    def from_record(cls, record: Record) -> "Matches":
        """What `to_record` gave; other entries are left alone."""
        names = ("labels", "matched", "ignored", "true_labels", "true_counts")
        integers = {name: np.array(record[name], np.int64) for name in names}
        return cls(scores=np.array(record["scores"], np.float64), **integers)


@dataclass(frozen=True)
class ClassMatches:
    """One class in all pictures. Detections picture by picture, earlier pictures first, best first in each.

    Attributes:
        pictures: index of each detection's picture.
        rank: of each detection among those of its picture, from 0.
        scores: of each detection.
        matched, ignored: of each detection, at each area range and overlap.
        true_pictures: index of each picture that has true instances.
        true_counts: the true instances in it that count.
    """

    pictures: Int64[np.ndarray, " n"]
    rank: Int64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    matched: Bool[np.ndarray, "areas overlaps n"]
    ignored: Bool[np.ndarray, "areas overlaps n"]
    true_pictures: Int64[np.ndarray, " m"]
    true_counts: Int64[np.ndarray, "areas m"]


def by_class(matches: Sequence[Matches], order: Sequence[int]) -> dict[int, ClassMatches]:
    """The classes that have a true instance that counts, by label in ascending order.

    Args:
        matches: of each picture.
        order: indices into `matches`: which picture goes first where scores tie.
    """
    if not matches:
        return {}
    ordered = [matches[index] for index in order]
    joined = {key: np.concatenate([vars(part)[key] for part in ordered], axis=-1) for key in vars(ordered[0])}
    pictures = np.repeat(order, [len(part.labels) for part in ordered])
    true_pictures = np.repeat(order, [len(part.true_labels) for part in ordered])
    areas = len(joined["true_counts"])
    found = {}
    for label in np.unique(joined["true_labels"][joined["true_counts"].any(axis=0)]).tolist():
        rows, true_rows = joined["labels"] == label, joined["true_labels"] == label
        found[label] = ClassMatches(
            pictures=pictures[rows],
            rank=_rank(pictures[rows]),
            scores=joined["scores"][rows],
            matched=_unpacked(joined["matched"][rows], areas),
            ignored=_unpacked(joined["ignored"][rows], areas),
            true_pictures=true_pictures[true_rows],
            true_counts=joined["true_counts"][:, true_rows],
        )
    return found


def packed(flags: Bool[np.ndarray, "areas overlaps n"]) -> Int64[np.ndarray, " n"]:
    """Flags as the bits of a number: those of all overlaps at the first area range, then at the next."""
    bits = flags.reshape(flags.shape[0] * OVERLAPS, flags.shape[2])
    return np.asarray(_bits(flags.shape[0]) @ bits)


def _unpacked(numbers: Int64[np.ndarray, " n"], areas: int) -> Bool[np.ndarray, "areas overlaps n"]:
    return np.asarray((numbers & _bits(areas)[:, None]) > 0).reshape(areas, OVERLAPS, len(numbers))


def _bits(areas: int) -> Int64[np.ndarray, " bits"]:
    return 1 << np.arange(areas * OVERLAPS, dtype=np.int64)


def _rank(pictures: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Position of each entry in its run of equal ones."""
    starts = np.flatnonzero(np.diff(pictures, prepend=-1))
    return np.arange(len(pictures)) - np.repeat(starts, np.diff(starts, append=len(pictures)))
