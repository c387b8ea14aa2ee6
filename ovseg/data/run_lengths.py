"""The masks of all regions of a map at once, as COCO's run lengths; the map is gone through a single time."""

import numpy as np
from jaxtyping import Int32
from pycocotools import mask as coco_mask

from ovseg.truth import RunLengths


def masks_of(ids: Int32[np.ndarray, "h w"]) -> dict[int, RunLengths]:
    """The mask of each value of a map but 0, in ascending order of the values."""
    flat = ids.ravel(order="F")  # COCO counts along the columns
    if not flat.size:
        return {}
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    values, firsts = np.unique(flat[starts][order], return_index=True)
    groups = zip(values.tolist(), np.split(order, firsts[1:]), strict=True)
    return {value: _mask(starts[runs], ends[runs], ids.shape) for value, runs in groups if value}


def _mask(starts: np.ndarray, ends: np.ndarray, size: tuple[int, ...]) -> RunLengths:
    """A mask whose pixels are in ``[start, end)`` along the columns: lengths of 0 and 1 in turn."""
    height, width = size
    edges = np.column_stack([starts, ends]).ravel()
    counts = np.diff(edges, prepend=0)
    if edges[-1] < height * width:
        counts = np.append(counts, height * width - edges[-1])
    made: RunLengths = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return made
