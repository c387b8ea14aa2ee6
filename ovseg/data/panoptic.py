"""From a panoptic map and its list of segments to the views that metrics compare; no loop over pixels.

Segment ids are large numbers, so a table of labels by id would be slow to make for each picture. Regions are
connected, though: along the rows a map is some thousand runs of one id, and only those are looked up.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int16, Int32
from pycocotools import mask as coco_mask

from ovseg.errors import DataError
from ovseg.truth import IGNORED, PanopticTruth, RunLengths, TrueInstance, TrueSegment


class Runs(NamedTuple):
    """A map row by row as runs of one value.

    Attributes:
        values: of each run.
        lengths: pixels of each run.
    """

    values: Int32[np.ndarray, " runs"]
    lengths: Int[np.ndarray, " runs"]


def runs_of(ids: Int32[np.ndarray, "h w"]) -> Runs:
    """The runs of a map; a row's last may go on in the next row."""
    flat = ids.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return Runs(flat[starts], np.diff(starts, append=flat.size))


def panoptic_truth(
    ids: Int32[np.ndarray, "h w"], segments: Sequence[TrueSegment], path: Path
) -> PanopticTruth:
    """A map and its list, which must speak of the same segments.

    Args:
        ids: as in the file.
        segments: as listed for this picture.
        path: of the map, for the message.

    Raises:
        DataError: a segment is only in the map, only in the list, or twice in the list.
    """
    listed = [segment.id for segment in segments]
    found = set(np.unique(runs_of(ids).values).tolist()) - {0}
    if len(set(listed)) != len(listed) or 0 in listed:
        raise DataError(
            f"{path}: its list of segments has an id twice, or 0, which means void. The JSON file with the "
            "lists is damaged: get it again."
        )
    if found != set(listed):
        only_map, only_list = sorted(found - set(listed)), sorted(set(listed) - found)
        raise DataError(
            f"{path} and the list of its segments do not agree: ids only in the map: {_few(only_map)}, only "
            f"in the list: {_few(only_list)}. One of them is another picture's, or the map was resized or "
            "saved with other colours: get both again."
        )
    return PanopticTruth(ids, tuple(segments))


def semantic_of(truth: PanopticTruth) -> Int16[np.ndarray, "h w"]:
    """Class index of each pixel's segment, crowds too; `IGNORED` in void."""
    runs = runs_of(truth.ids)
    known = np.array([0, *(segment.id for segment in truth.segments)], np.int32)
    labels = np.array([IGNORED, *(segment.label for segment in truth.segments)], np.int16)
    order = np.argsort(known)
    of_runs = labels[order[np.searchsorted(known, runs.values, sorter=order)]]
    return np.repeat(of_runs, runs.lengths).reshape(truth.ids.shape)


def instances_of(truth: PanopticTruth, things: Collection[int]) -> tuple[TrueInstance, ...]:
    """The segments of things as masks; the area is the count of their pixels.

    Args:
        truth: of one picture.
        things: the class indices that are countable.
    """
    found = []
    for segment in truth.segments:
        if segment.label in things:
            mask = encode_mask(truth.ids == segment.id)
            area = float(coco_mask.area(mask))
            found.append(TrueInstance(mask, segment.label, area, is_crowd=segment.is_crowd))
    return tuple(found)


def encode_mask(mask: Bool[np.ndarray, "h w"]) -> RunLengths:
    """A mask as COCO's compressed run lengths."""
    encoded: RunLengths = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return encoded


def _few(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:3])) or "none"
    return f"{named} and {len(ids) - 3} more" if len(ids) > 3 else named
