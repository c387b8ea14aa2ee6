"""How well a model's features or attention say which places of a picture are in one segment.

A place is a patch that a single segment fills almost alone. All pairs of places of a picture are ranked by
what the model says of them: the area under the ROC curve is the chance that a pair within a segment ranks
above a pair across two, 0.5 for noise.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

PURE = 0.8
"""Share of a patch that its segment fills at least."""


@dataclass(frozen=True)
class Grouping:
    """Means over pictures.

    Attributes:
        auc: area under the ROC curve of "same segment".
        within, across: mean of what the model says of pairs in one segment and in two.
    """

    auc: float
    within: float
    across: float


def patch_segments(ids: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The segment of each patch, row by row, int64; -1 where none fills `PURE` of it.

    Args:
        ids: segment of each pixel, (H, W) that are multiples of the grid.
        grid: rows and columns of patches.
    """
    rows, columns = grid
    height, width = ids.shape[0] // rows, ids.shape[1] // columns
    patches = ids.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(rows * columns, -1)
    patches = np.sort(patches.astype(np.int64), axis=1)
    # What fills more than a half of a patch is its median.
    middle = patches[:, patches.shape[1] // 2]
    share = (patches == middle[:, None]).mean(1)
    return np.where(share >= PURE, middle, -1)


def grouping(pictures: Iterable[tuple[np.ndarray, np.ndarray]]) -> Grouping:
    """The measure over pictures.

    Args:
        pictures: for each the likeness of every two patches (n, n), which is made symmetric, and the segments
            of the n patches.
    """
    rows = [_of_picture(likeness, segments) for likeness, segments in pictures]
    auc, within, across = np.mean([row for row in rows if row is not None], axis=0)
    return Grouping(float(auc), float(within), float(across))


def cosines(features: np.ndarray) -> np.ndarray:
    """Of every two rows."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def _of_picture(likeness: np.ndarray, segments: np.ndarray) -> tuple[float, float, float] | None:
    """The three values; None for a picture with pairs of one sort alone."""
    places = np.flatnonzero(segments >= 0)
    first, second = np.triu_indices(len(places), 1)
    first, second = places[first], places[second]
    said = (likeness[first, second] + likeness[second, first]) / 2
    same = segments[first] == segments[second]
    inside, outside = int(same.sum()), int((~same).sum())
    if not inside or not outside:
        return None
    ranks = rankdata(said)[same].sum()
    auc = (ranks - inside * (inside + 1) / 2) / (inside * outside)
    return float(auc), float(said[same].mean()), float(said[~same].mean())
