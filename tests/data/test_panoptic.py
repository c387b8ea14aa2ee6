"""From a panoptic map to the semantic and the instance view, against plain loops."""

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovseg.data.panoptic import instances_of, panoptic_truth, runs_of, semantic_of
from ovseg.errors import DataError
from ovseg.truth import IGNORED, TrueSegment

PATH = Path("map.png")
IDS = np.array([[0, 0, 900, 900], [7, 7, 900, 16_000_000], [7, 0, 0, 16_000_000]], np.int32)
SEGMENTS = [TrueSegment(900, 2), TrueSegment(7, 0), TrueSegment(16_000_000, 0, is_crowd=True)]


def test_runs_cross_rows():
    runs = runs_of(IDS)
    assert runs.values.tolist() == [0, 900, 7, 900, 16_000_000, 7, 0, 16_000_000]
    assert runs.lengths.tolist() == [2, 2, 2, 1, 1, 1, 2, 1]


def test_semantic_of_many_regions_is_the_label_of_each_segment():
    rng = np.random.default_rng(1)
    known = rng.choice(2**24 - 1, 50, replace=False) + 1
    ids = np.kron(rng.choice([0, *known], (12, 9)), np.ones((3, 5))).astype(np.int32)
    segments = [TrueSegment(int(id), int(rng.integers(133))) for id in np.unique(ids[ids > 0])]
    wanted = np.full(ids.shape, IGNORED)
    for segment in segments:
        wanted[ids == segment.id] = segment.label
    semantic = semantic_of(panoptic_truth(ids, segments, PATH))
    assert semantic.dtype == np.int16
    np.testing.assert_array_equal(semantic, wanted)


def test_a_picture_that_is_all_void():
    truth = panoptic_truth(np.zeros((2, 3), np.int32), [], PATH)
    assert (semantic_of(truth) == IGNORED).all()
    assert instances_of(truth, {0}) == ()


def test_instances_are_the_things():
    found = instances_of(panoptic_truth(IDS, SEGMENTS, PATH), {0})
    assert [(one.label, one.area, one.is_crowd) for one in found] == [(0, 3.0, False), (0, 2.0, True)]
    for one, id in zip(found, (7, 16_000_000), strict=True):
        np.testing.assert_array_equal(coco_mask.decode(one.mask), id == IDS)


@pytest.mark.parametrize(
    ("segments", "says"),
    [
        (SEGMENTS[:2], "ids only in the map: 16000000, only in the list: none"),
        ([*SEGMENTS, TrueSegment(5, 1)], "ids only in the map: none, only in the list: 5"),
        ([*SEGMENTS, *(TrueSegment(id, 1) for id in range(1, 6))], "list: 1, 2, 3 and 2 more"),
        ([*SEGMENTS, SEGMENTS[0]], "has an id twice, or 0"),
        ([*SEGMENTS, TrueSegment(0, 1)], "has an id twice, or 0"),
    ],
)
def test_a_map_and_a_list_that_do_not_agree(segments, says):
    with pytest.raises(DataError, match=says) as error:
        panoptic_truth(IDS, segments, PATH)
    assert "map.png" in str(error.value)
    assert "again" in str(error.value)
