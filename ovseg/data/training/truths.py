"""What of a data set can be trained on: which pictures, and the segments of each.

The rules are those of Mask2Former and FC-CLIP. Crowds are no targets: their pixels are void. A picture
without any other segment is left out. Where a data set has only a semantic truth, the pixels of a class are
one segment, things too.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int16, Int32, Int64

from ovseg.data.panoptic import runs_of
from ovseg.data.training.transforms import VOID
from ovseg.dataset import Dataset
from ovseg.errors import DataError, LabelError
from ovseg.truth import IGNORED, PanopticTruth, TrueSegment

_NEEDED = "Training needs panoptic or semantic truth"


@runtime_checkable
class PanopticSource(Protocol):
    """A data set that can tell its panoptic truth without making the other views, which takes time."""

    def panoptic_of(self, index: int) -> PanopticTruth:
        """The panoptic view of a picture."""
        ...

    def told_apart(self) -> Bool[np.ndarray, " pictures"]:
        """Of each picture, whether one of its segments at least is no crowd, without opening maps."""
        ...


def usable_pictures(dataset: Dataset) -> Int64[np.ndarray, " usable"]:
    """The indices of pictures to train on, ascending, as far as that is known without opening them all.

    Raises:
        DataError: there is none, or the data set has no truth of the kind that is needed.
    """
    if not {"panoptic", "semantic"} & set(dataset.tasks):
        raise DataError(f"{_NEEDED}; this data set has {', '.join(dataset.tasks) or 'none'}. Choose another.")
    pictures = len(dataset.keys)
    if not pictures:
        raise DataError("The data set has no picture to train on. Look at it with 'ovseg check data'.")
    source = _source(dataset)
    found = np.arange(pictures) if source is None else np.flatnonzero(source.told_apart())
    if not len(found):
        raise DataError(
            f"None of the {pictures} pictures can be trained on: looked for a segment that is no crowd "
            '(segments_info with "iscrowd": 0) in the lists of all, and found none. Is this the right JSON '
            "file, and were its lists filled in?"
        )
    return found


def segments_of(dataset: Dataset, index: int) -> tuple[Int16[np.ndarray, "h w"], Int64[np.ndarray, " n"]]:
    """A picture's map of targets (0, 1, ... and `VOID`) and their class indices, in the truth's order.

    Raises:
        LabelError: a class index is outside the data set's list.
        DataError: the truth cannot be read.
    """
    truth = _panoptic_truth(dataset, index)
    for segment in truth.segments:
        if not 0 <= segment.label < len(dataset.vocabulary):
            raise LabelError(
                f"{dataset.keys[index]}: segment {segment.id} has the class index {segment.label}, but "
                f"the list '{dataset.vocabulary.name}' has {len(dataset.vocabulary)} classes (0 to "
                f"{len(dataset.vocabulary) - 1}). Give the list that the labels were made with."
            )
    told_apart = [segment for segment in truth.segments if not segment.is_crowd]
    order = sorted(range(len(told_apart)), key=lambda place: told_apart[place].id)
    ids = np.array([told_apart[place].id for place in order], np.int32)
    runs = runs_of(truth.ids)
    places = np.searchsorted(ids, runs.values).clip(max=max(len(ids) - 1, 0))
    of_runs = np.full(len(runs.values), VOID, np.int16)
    if len(ids):
        known = ids[places] == runs.values
        of_runs[known] = np.array(order, np.int16)[places[known]]
    targets = np.repeat(of_runs, runs.lengths).reshape(truth.ids.shape)
    return targets, np.array([segment.label for segment in told_apart], np.int64)


def _source(dataset: Dataset) -> PanopticSource | None:
    return dataset if isinstance(dataset, PanopticSource) and "panoptic" in dataset.tasks else None


def _panoptic_truth(dataset: Dataset, index: int) -> PanopticTruth:
    source = _source(dataset)
    if source is not None:
        return source.panoptic_of(index)
    truth = dataset.truth(index)
    if truth.panoptic is not None:
        return truth.panoptic
    if truth.semantic is None:
        raise DataError(f"{dataset.keys[index]} has neither. {_NEEDED}: look with 'ovseg check data'.")
    return _from_semantic(truth.semantic)


def _from_semantic(semantic: Int16[np.ndarray, "h w"]) -> PanopticTruth:
    """The pixels of a class as one segment, as in MaskFormer."""
    ids: Int32[np.ndarray, "h w"] = semantic.astype(np.int32) - IGNORED
    labels = np.unique(semantic[semantic != IGNORED]).tolist()
    return PanopticTruth(ids, tuple(TrueSegment(label - IGNORED, label) for label in labels))
