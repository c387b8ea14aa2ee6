import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.label_files import pixels_of, put_labels, put_picture
from pycocotools import mask as coco_mask

from ovseg.data.cityscapes import Cityscapes
from ovseg.data.labels import read_panoptic_ids
from ovseg.data.preparation import prepare
from ovseg.interfaces import Dataset

GOLDEN = Path(__file__).parents[1] / "golden" / "cityscapes" / "gtFine"
SIZE = (24, 40)
KEYS = ["aachen_000000_000019", "bonn_000001_000019"]
VOID, CAR, PERSON = -1, 13, 11


@pytest.fixture
def root(tmp_path):
    """The archives leftImg8bit and gtFine, as they unpack."""
    for key in KEYS:
        city = key.partition("_")[0]
        put_picture(tmp_path / "leftImg8bit" / "val" / city / f"{key}_leftImg8bit.png", SIZE)
        for kind in ("labelIds", "instanceIds"):
            copy(tmp_path, key, kind)
    return tmp_path


def copy(root, key, kind):
    folder = root / "gtFine" / "val" / key.partition("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(GOLDEN / "val" / folder.name / f"{key}_gtFine_{kind}.png", folder)


def copy_panoptic(root):
    shutil.copytree(GOLDEN / "cityscapes_panoptic_val", root / "gtFine" / "cityscapes_panoptic_val")
    shutil.copy(GOLDEN / "cityscapes_panoptic_val.json", root / "gtFine")


def official_segments(key):
    content = json.loads((GOLDEN / "cityscapes_panoptic_val.json").read_text())
    return {one["image_id"]: one["segments_info"] for one in content["annotations"]}[key]


def test_all_views_of_the_archives_are_the_official_ones(root):
    dataset = Cityscapes(root=root)
    assert isinstance(dataset, Dataset)
    assert dataset.keys == KEYS
    index_of = {entry.id: index for index, entry in enumerate(dataset.vocabulary.classes)}
    for index, key in enumerate(KEYS):
        truth = dataset.truth(index)
        trained = pixels_of(GOLDEN / "val" / key.partition("_")[0] / f"{key}_gtFine_labelTrainIds.png")
        np.testing.assert_array_equal(truth.semantic, np.where(trained == 255, VOID, trained.astype(int)))
        map_file = GOLDEN / "cityscapes_panoptic_val" / f"{key}_gtFine_panoptic.png"
        np.testing.assert_array_equal(truth.panoptic.ids, read_panoptic_ids(map_file))
        official = {(s["id"], index_of[s["category_id"]], bool(s["iscrowd"])) for s in official_segments(key)}
        assert {(one.id, one.label, one.is_crowd) for one in truth.panoptic.segments} == official


def test_instances_are_things_and_groups_of_them(root):
    truth = Cityscapes(root=root).truth(0)
    cars = [one for one in truth.instances if one.label == CAR]
    assert [one.is_crowd for one in cars] == [True, False, False]
    first_car = coco_mask.decode(cars[1].mask)
    # Columns 2..9 of rows 14..18, of which the second car covers a part; the licence plate is not drawn.
    expected = np.zeros(SIZE, np.uint8)
    expected[14:19, 2:10] = 1
    expected[15:19, 8:10] = 0
    np.testing.assert_array_equal(first_car, expected)
    assert cars[1].area == 32
    assert {one.label for one in truth.instances} <= {VOID, *range(PERSON, 19)}


def test_single_caravans_and_trailers_are_told_from_other_void_pixels(root):
    """Average precision does not excuse what is predicted there."""
    truths = [Cityscapes(root=root).truth(index) for index in range(2)]
    for truth in truths:  # a caravan in the first picture, a trailer in the second
        (single,) = [one for one in truth.instances if one.label == VOID]
        inside = coco_mask.decode(single.mask).astype(bool)
        assert inside.sum() == single.area > 0
        assert (truth.semantic[inside] == VOID).all()
        assert (truth.panoptic.ids[inside] == 0).all()


def test_one_byte_maps_of_cityscapesscripts_are_used_when_all_are_there(root):
    before = [Cityscapes(root=root).truth(index).semantic for index in range(2)]
    copy(root, KEYS[0], "labelTrainIds")
    assert "labelIds" in Cityscapes(root=root).items[0].labels[0].name
    copy(root, KEYS[1], "labelTrainIds")
    dataset = Cityscapes(root=root)
    assert "labelTrainIds" in dataset.items[0].labels[0].name
    for index in range(2):
        np.testing.assert_array_equal(dataset.truth(index).semantic, before[index])


def test_prepared_panoptic_files_alone(root):
    before = [Cityscapes(root=root).truth(index) for index in range(2)]
    for path in root.glob("gtFine/val/*/*_instanceIds.png"):
        path.unlink()
    copy_panoptic(root)
    dataset = Cityscapes(root=root)
    for index in range(2):
        truth = dataset.truth(index)
        np.testing.assert_array_equal(truth.panoptic.ids, before[index].panoptic.ids)
        assert set(truth.panoptic.segments) == set(before[index].panoptic.segments)
        assert truth.instances == tuple(one for one in before[index].instances if one.label != VOID)


def test_prepared_files_are_those_of_cityscapesscripts(root):
    (preparation,) = Cityscapes(root=root).preparations
    assert prepare(preparation).made == 2
    assert prepare(preparation).made == 0
    made = root / "gtFine"
    for key in KEYS:
        city = key.partition("_")[0]
        for path in (
            f"val/{city}/{key}_gtFine_labelTrainIds.png",
            f"cityscapes_panoptic_val/{key}_gtFine_panoptic.png",
        ):
            np.testing.assert_array_equal(pixels_of(made / path), pixels_of(GOLDEN / path))
    ours = json.loads((made / "cityscapes_panoptic_val.json").read_text())
    theirs = json.loads((GOLDEN / "cityscapes_panoptic_val.json").read_text())
    assert ours["images"] == theirs["images"]
    assert ours["annotations"] == theirs["annotations"]
    kept = ("id", "name", "isthing")
    assert ours["categories"] == [{key: one[key] for key in kept} for one in theirs["categories"]]


def test_check_of_a_sound_part_only_counts(root):
    (line,) = Cityscapes(root=root).check()
    assert "has 2 pictures, its publisher's has 500" in line


def complaints(root):
    return "\n".join(Cityscapes(root=root).check())


def label_file(root, kind):
    return root / "gtFine" / "val" / "aachen" / f"{KEYS[0]}_gtFine_{kind}.png"


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("labelIds", 34, "holds 34 in 960 pixels"),
        ("instanceIds", 34001, "holds the id 34001, which is of none of the 34 classes of Cityscapes"),
        ("instanceIds", 500, "holds the id 500"),
    ],
)
def test_ids_of_no_class(root, kind, value, said):
    dtype = np.uint8 if kind == "labelIds" else np.uint16
    put_labels(label_file(root, kind), np.full(SIZE, value), dtype)
    assert said in complaints(root)


def test_sizes_that_differ(root):
    put_labels(label_file(root, "instanceIds"), np.full((24, 39), 26001), np.uint16)
    assert f"{KEYS[0]}_gtFine_instanceIds.png has 39 x 24 pixels" in complaints(root)


def test_missing_files_and_folders(root):
    label_file(root, "instanceIds").unlink()
    assert "lacks 1 of 2 labels (the first: aachen_000000_000019_gtFine_instanceIds.png)" in complaints(root)
    shutil.rmtree(root / "gtFine")
    text = complaints(root)
    assert "gtFine/val is not there" in text
    assert "https://www.cityscapes-dataset.com/downloads/" in text


def test_nothing_but_void(root):
    put_labels(label_file(root, "labelIds"), np.zeros(SIZE))
    put_labels(label_file(root, "instanceIds"), np.zeros(SIZE), np.uint16)
    assert "says nothing of any pixel" in complaints(root)
