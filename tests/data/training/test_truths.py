"""Which pictures are trained on, and what their targets are."""

from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import put_ids, put_json, put_picture
from helpers.training_data import COCO_MINI, GivenDataset, ids_of, put_coco, small_coco

from ovseg.data.coco import COCOPanoptic
from ovseg.data.folder import FolderDataset
from ovseg.data.training.truths import segments_of, usable_pictures
from ovseg.errors import DataError, LabelError
from ovseg.truth import PanopticTruth, TrueSegment, Truth

IDS = np.array([[50, 50, 4], [9, 4, 0]], np.int32)


def given(*segments, tasks=("panoptic",), ids=IDS):
    truth = Truth(ids.shape, panoptic=PanopticTruth(ids, tuple(TrueSegment(*one) for one in segments)))
    return GivenDataset([truth], tasks)


def test_targets_are_numbered_as_listed_and_crowds_are_void():
    segments, labels = segments_of(given((50, 1), (9, 0, True), (4, 1)), 0)
    np.testing.assert_array_equal(segments, [[0, 0, 1], [-1, 1, -1]])
    assert labels.tolist() == [1, 1]


def test_a_target_without_a_pixel_stays():
    segments, labels = segments_of(given((50, 1), (77, 0), (4, 0)), 0)
    np.testing.assert_array_equal(segments, [[0, 0, 2], [-1, 2, -1]])
    assert labels.tolist() == [1, 0, 0]


def test_nothing_but_crowds():
    segments, labels = segments_of(given((50, 1, True), (9, 0, True), (4, 1, True)), 0)
    assert (segments == -1).all()
    assert len(labels) == 0


def test_of_a_semantic_truth_a_class_is_one_segment():
    semantic = np.array([[1, 1, -1], [0, 1, 0]], np.int16)
    segments, labels = segments_of(GivenDataset([Truth((2, 3), semantic)], ("semantic",)), 0)
    np.testing.assert_array_equal(segments, [[1, 1, -1], [0, 1, 0]])
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("label", [2, -1])
def test_a_class_outside_the_list(label):
    with pytest.raises(
        LabelError,
        match=rf"given_0: segment 9 has the class index {label}, but the list 'two' has 2 classes "
        r"\(0 to 1\). Give the list that the labels were made with.",
    ):
        segments_of(given((50, 1), (9, label), (4, 1)), 0)


def test_coco_s_lists_say_which_pictures_are_left_out(tmp_path):
    dataset = small_coco(tmp_path, crowds=(0, 4), empty=(5,))
    assert usable_pictures(dataset).tolist() == [1, 2, 3, 6]
    segments, labels = segments_of(dataset, 1)
    wanted = ids_of(1, (23, 38))
    assert labels.tolist() == [119, 0, 2]
    for number, id in enumerate((9_000_001, 8, 300)):
        np.testing.assert_array_equal(segments == number, wanted == id)


def test_a_folder_in_coco_s_format_with_a_split(tmp_path):
    rows = {"a": [(1, 5, 0)], "b": [(1, 5, 1)], "c": [(1, 5, 1), (2, 6, 0)]}
    lists = [
        {
            "image_id": key,
            "file_name": f"{key}.png",
            "segments_info": [{"id": id, "category_id": of, "iscrowd": crowd} for id, of, crowd in segments],
        }
        for key, segments in rows.items()
    ]
    for key, segments in rows.items():
        put_picture(tmp_path / "images" / f"{key}.jpg", (4, 4))
        put_ids(tmp_path / "panoptic" / f"{key}.png", np.resize([id for id, _, _ in segments], (4, 4)))
    images = [{"id": key, "file_name": f"{key}.jpg"} for key in rows]
    categories = [{"id": 5, "name": "dog", "isthing": 1}, {"id": 6, "name": "grass", "isthing": 0}]
    content = {"images": images, "annotations": lists, "categories": categories}
    put_json(tmp_path / "panoptic.json", content)
    (tmp_path / "some.txt").write_text("c\nb\n")

    def folder(split):
        keys = {"labels": None, "panoptic": Path("panoptic.json"), "classes": None}
        return FolderDataset(root=tmp_path, split=split, **keys)

    assert usable_pictures(folder("")).tolist() == [0, 2]
    assert usable_pictures(folder("some")).tolist() == [0]
    segments, labels = segments_of(folder("some"), 0)
    np.testing.assert_array_equal(segments, np.resize([-1, 0], (4, 4)))
    assert labels.tolist() == [1]
    for index in range(3):
        alone, truth = folder("").panoptic_of(index), folder("").truth(index)
        np.testing.assert_array_equal(alone.ids, truth.panoptic.ids)
        assert alone.segments == truth.panoptic.segments


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (GivenDataset([], ("panoptic",)), "no picture to train on. Look at it with 'ovseg check data'"),
        (
            given(tasks=("instance",)),
            r"Training needs panoptic or semantic truth; this data set has instance. Choose another",
        ),
    ],
)
def test_data_sets_that_cannot_be_trained_on(dataset, says):
    with pytest.raises(DataError, match=says):
        usable_pictures(dataset)


def test_no_usable_picture(tmp_path):
    with pytest.raises(
        DataError,
        match=r"None of the 3 pictures can be trained on: looked for a segment that is no crowd "
        r'\(segments_info with "iscrowd": 0\) in the lists of all, and found none.',
    ):
        usable_pictures(small_coco(tmp_path, pictures=3, crowds=(0, 1), empty=(2,)))


def test_a_picture_that_lacks_the_truth_its_data_set_claims():
    with pytest.raises(DataError, match=r"given_0 has neither. Training needs panoptic or semantic truth"):
        segments_of(GivenDataset([Truth((2, 3))], ("panoptic",)), 0)


def test_a_map_that_is_another_picture_s(tmp_path):
    put_coco(tmp_path, pictures=2)
    maps = tmp_path / "annotations" / "panoptic_val2017"
    (maps / "000000000000.png").write_bytes((maps / "000000000001.png").read_bytes())
    with pytest.raises(DataError, match="the list of its segments do not agree"):
        segments_of(COCOPanoptic(root=tmp_path), 0)


def test_coco_s_instances_are_not_read(tmp_path):
    dataset = small_coco(tmp_path)
    dataset.instances_file.write_text("not even JSON")
    with pytest.raises(DataError, match="is no whole JSON file"):
        dataset.truth(0)
    assert len(segments_of(dataset, 0)[1]) == 3


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="coco_mini is not there")
def test_real_pictures():
    dataset = COCOPanoptic(root=COCO_MINI)
    assert len(usable_pictures(dataset)) == len(dataset.keys)
    crowds = 0
    for index in range(0, len(dataset.keys), 4):
        truth = dataset.truth(index).panoptic
        segments, labels = segments_of(dataset, index)
        told_apart = [one for one in truth.segments if not one.is_crowd]
        crowds += len(truth.segments) - len(told_apart)
        assert labels.tolist() == [one.label for one in told_apart]
        for number, one in enumerate(told_apart):
            np.testing.assert_array_equal(segments == number, truth.ids == one.id)
        assert (segments >= 0).sum() == np.isin(truth.ids, [one.id for one in told_apart]).sum()
    assert crowds > 0
