"""Numbers per picture and class, and their sums over pictures that count several times.

A picture has few of a vocabulary's classes, so only what is there is kept. Letters: n entries (a class in a
picture), k classes, c columns (what is counted), b resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ovseg.interfaces import Record


@dataclass(frozen=True)
class ClassSums:
    """What is added up, class by class.

    Attributes:
        pictures: how many there are; some may have no entry.
        starts: entries of class i stand from ``starts[i]`` up to ``starts[i + 1]``.
        picture_of_entry: in the order of the pictures within a class.
        amounts: per entry and column.
    """

    pictures: int
    starts: Int[np.ndarray, " k_and_1"]
    picture_of_entry: Int[np.ndarray, " n"]
    amounts: Float[np.ndarray, "n c"]

    def weighted(self, weights: Float[np.ndarray, "pictures b"]) -> Float[np.ndarray, "c k b"]:
        """Sums over the pictures, each counted `weights` times.

        They are added in the order of the pictures: the same numbers on any count of threads.
        """
        sums = np.zeros((self.amounts.shape[1], len(self.starts) - 1, weights.shape[1]))
        for index in np.flatnonzero(np.diff(self.starts)):
            entries = slice(self.starts[index], self.starts[index + 1])
            drawn = weights[self.picture_of_entry[entries]]
            # Not a matrix product: BLAS may split it by threads, and float sums depend on the split.
            sums[:, index] = np.einsum("nc,nb->cb", self.amounts[entries], drawn, optimize=False)
        return sums


def class_sums(records: Sequence[Record], columns: Sequence[str], class_count: int) -> ClassSums:
    """Put records together.

    Args:
        records: each with a list ``classes`` of indices and, as long, a list of numbers per column.
        columns: the names of those lists. Whole numbers are exact up to 2^53.
        class_count: length of the vocabulary.
    """
    lengths = [len(record["classes"]) for record in records]
    picture_of_entry = np.repeat(np.arange(len(records)), np.asarray(lengths, dtype=np.int64))
    class_of_entry = _joined(records, "classes").astype(np.int64)
    order = np.argsort(class_of_entry, kind="stable")
    return ClassSums(
        pictures=len(records),
        starts=np.searchsorted(class_of_entry[order], np.arange(class_count + 1)),
        picture_of_entry=picture_of_entry[order],
        amounts=np.stack([_joined(records, column)[order] for column in columns], axis=1),
    )


def sparse(columns: Mapping[str, Int[np.ndarray, " _"] | Float[np.ndarray, " _"]]) -> Record:
    """A picture's record: of columns with a number per class, the classes where one is not 0."""
    classes = np.flatnonzero(np.any(np.stack(list(columns.values())) != 0, axis=0))
    return {
        "classes": classes.tolist(),
        **{name: column[classes].tolist() for name, column in columns.items()},
    }


def _joined(records: Sequence[Record], column: str) -> Float[np.ndarray, " n"]:
    return np.asarray([number for record in records for number in record[column]], dtype=np.float64)


def ratio(
    part: Float[np.ndarray, "*shape"], whole: Float[np.ndarray, "*shape"], *, undefined: float = np.nan
) -> Float[np.ndarray, "*shape"]:
    """Part by whole; `undefined` where the whole is 0."""
    quotient = np.full(whole.shape, undefined)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def mean_defined(values: Float[np.ndarray, "k b"]) -> Float[np.ndarray, " b"]:
    """Mean over classes, of those that have a value; NaN if none has."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0, dtype=np.float64))
