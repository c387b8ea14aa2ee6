"""How many pixels of each class are right: what mIoU and its relatives are made of."""

from dataclasses import dataclass

import numpy as np

from ovseg.evaluation.class_sums import sparse
from ovseg.evaluation.views import both_views, check_labels, check_pair
from ovseg.interfaces import Record
from ovseg.truth import IGNORED, Truth
from ovseg.types import NOTHING, Prediction

COLUMNS = ("correct", "true", "predicted")
"""Pixels per class, of those where the truth says something."""


@dataclass(frozen=True)
class PixelCounts:
    """A picture's share of mIoU; small, so that worker processes can be sent it.

    Attributes:
        class_count: length of the data set's vocabulary.
    """

    class_count: int

    def __call__(self, prediction: Prediction, truth: Truth) -> Record:
        """Count the pixels of one picture, by its confusion matrix.

        Pixels without truth are dropped. A pixel that was given no class is a true one of its class and a
        predicted one of none.

        Returns:
            ``classes`` and, for each of them, `COLUMNS`.

        Raises:
            DataError: a semantic view is missing, sizes or classes differ, or a label is no class.
        """
        check_pair(prediction, truth, self.class_count)
        predicted, true = both_views(prediction.semantic, truth.semantic, "semantic")
        labels = predicted.numpy()
        for whose, classes, first in (("prediction", labels, NOTHING), ("truth", true, IGNORED)):
            check_labels(int(classes.min()), int(classes.max()), whose, self.class_count, first=first)
        # Row and column 0 are for -1: no truth, no class.
        side = self.class_count + 1
        pairs = (true.astype(np.int64) + 1) * side + (labels + 1)
        confusion = np.bincount(pairs.ravel(), minlength=side * side).reshape(side, side)[1:]
        correct, true_pixels = np.diagonal(confusion, offset=1), confusion.sum(axis=1)
        columns = (correct, true_pixels, confusion.sum(axis=0)[1:])
        return sparse(dict(zip(COLUMNS, columns, strict=True)))
