import json
import shutil

import numpy as np
import pytest
from helpers.label_files import noise, pixels_of, put_channels, put_ids, put_labels, put_picture
from pycocotools import mask as coco_mask

from ovseg.data.ade20k import ADE20K
from ovseg.data.maps import ids
from ovseg.data.preparation import prepare
from ovseg.interfaces import Dataset

SIZE = (22, 30)
KEYS = ["ADE_val_00000001", "ADE_val_00000002"]
WALL, SKY, BED, WINDOW = 0, 2, 7, 8
RED = {BED: 1, WINDOW: 2}
VOID = -1


def drawn(key):
    """Published values of labels, red (class) and green (instance)."""
    number = int(key[-1])
    labels = noise(number, SIZE, [0, 1, 3, 8, 9])
    red, green = np.zeros(SIZE, int), np.zeros(SIZE, int)
    for instance, (label, rows) in enumerate([(BED, (2, 9)), (BED, (12, 15)), (WINDOW, (5, 14))], start=1):
        red[slice(*rows), 3 * instance : 8 * instance] = RED[label]
        green[slice(*rows), 3 * instance : 8 * instance] = instance
    red[20:, :5] = 1  # without a number: no instance
    return labels, red, green


def put_instances(root, key, red, green):
    put_channels(root / "annotations_instance" / "validation" / f"{key}.png", red, green)


@pytest.fixture
def parent(tmp_path):
    """The publisher's folders, both archives."""
    root = tmp_path / "ADEChallengeData2016"
    for key in KEYS:
        labels, red, green = drawn(key)
        put_picture(root / "images" / "validation" / f"{key}.jpg", SIZE)
        put_labels(root / "annotations" / "validation" / f"{key}.png", labels)
        put_instances(root, key, red, green)
    return tmp_path


@pytest.fixture
def root(parent):
    return parent / "ADEChallengeData2016"


def test_labels_count_from_one_in_the_files(parent, root):
    for dataset in (ADE20K(root=root), ADE20K(root=parent)):
        assert isinstance(dataset, Dataset)
        assert dataset.keys == KEYS
        assert dataset.tasks == ("semantic", "panoptic", "instance")
        for index, key in enumerate(KEYS):
            np.testing.assert_array_equal(dataset.truth(index).semantic, drawn(key)[0].astype(int) - 1)


def test_panoptic_truth_is_stuff_with_things_laid_over(root):
    for index, key in enumerate(KEYS):
        labels, _, green = drawn(key)
        truth = ADE20K(root=root).truth(index).panoptic
        label_of = {segment.id: segment.label for segment in truth.segments}
        assert len(label_of) == len(truth.segments) == 2 + 3
        # Pixel by pixel: an instance, or else stuff, or else nothing.
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                id, number = truth.ids[row, column], green[row, column]
                if number:
                    assert label_of[id] == [BED, BED, WINDOW][number - 1]
                elif labels[row, column] in (WALL + 1, SKY + 1):
                    assert label_of[id] == labels[row, column] - 1
                else:
                    assert id == 0
        things = [truth.ids[green == number] for number in (1, 2, 3)]
        assert all(len(np.unique(found)) == 1 for found in things)
        assert len({found[0] for found in things}) == 3


def test_instances_are_the_green_numbers(root):
    for index, key in enumerate(KEYS):
        _, _, green = drawn(key)
        instances = ADE20K(root=root).truth(index).instances
        assert [one.label for one in instances] == [BED, BED, WINDOW]
        for number, one in enumerate(instances, start=1):
            np.testing.assert_array_equal(coco_mask.decode(one.mask), green == number)
            assert one.area == np.count_nonzero(green == number)
            assert not one.is_crowd


def test_stuff_that_is_covered_stays_in_the_list(root):
    labels = np.full(SIZE, WALL + 1)
    labels[3, 3] = SKY + 1
    put_labels(root / "annotations" / "validation" / f"{KEYS[0]}.png", labels)
    truth = ADE20K(root=root).truth(0).panoptic
    sky = [segment for segment in truth.segments if segment.label == SKY]
    assert len(sky) == 1
    assert not np.any(truth.ids == sky[0].id)


def strip(root):
    """Leave what detectron2 needs: no originals."""
    shutil.rmtree(root / "annotations")
    shutil.rmtree(root / "annotations_instance")


def test_prepared_truth_is_the_originals(root):
    before = [ADE20K(root=root).truth(index) for index in range(2)]
    (preparation,) = ADE20K(root=root).preparations
    assert prepare(preparation).made == 2
    assert prepare(preparation).made == 0
    strip(root)
    dataset = ADE20K(root=root)
    assert dataset.tasks == ("semantic", "panoptic", "instance")
    assert dataset.preparations == ()
    for index in range(2):
        truth = dataset.truth(index)
        np.testing.assert_array_equal(truth.semantic, before[index].semantic)
        np.testing.assert_array_equal(truth.panoptic.ids, before[index].panoptic.ids)
        assert truth.panoptic.segments == before[index].panoptic.segments
        assert truth.instances == before[index].instances


def test_prepared_files_are_in_the_formats_of_the_official_scripts(root):
    prepare(ADE20K(root=root).preparations[0])
    labels, _, green = drawn(KEYS[0])
    written = pixels_of(root / "annotations_detectron2" / "validation" / f"{KEYS[0]}.png")
    np.testing.assert_array_equal(written, (labels - 1).astype(np.uint8))  # 0 becomes 255, as in uint8
    panoptic = json.loads((root / "ade20k_panoptic_val.json").read_text())
    assert panoptic["images"][0] == {"id": KEYS[0], "file_name": f"{KEYS[0]}.jpg", "height": 22, "width": 30}
    assert panoptic["annotations"][1]["file_name"] == f"{KEYS[1]}.png"
    assert len(panoptic["categories"]) == 150
    assert {one["category_id"] for one in panoptic["annotations"][0]["segments_info"]} == {0, 2, 7, 8}
    instance = json.loads((root / "ade20k_instance_val.json").read_text())
    assert len(instance["categories"]) == 100
    assert [one["id"] for one in instance["annotations"]] == [1, 2, 3, 4, 5, 6]
    first = instance["annotations"][0]
    rows, columns = np.nonzero(green == 1)
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert first["bbox"] == [columns.min(), rows.min(), width, height]
    assert first["category_id"] == BED


def test_files_of_the_official_scripts_with_their_own_numbers(root):
    """Other ids of segments, and pictures that are numbered in the instance file."""
    labels, _, green = drawn(KEYS[0])
    for key in KEYS:
        put_labels(
            root / "annotations_detectron2" / "validation" / f"{key}.png", (labels - 1).astype(np.uint8)
        )
        put_ids(root / "ade20k_panoptic_val" / f"{key}.png", np.where(green > 0, 70000 + green, 0))
    segments = [{"id": 70000 + number, "category_id": BED, "iscrowd": 0} for number in (1, 2, 3)]
    images = [{"id": key, "file_name": f"{key}.jpg"} for key in KEYS]
    lists = [{"image_id": key, "file_name": f"{key}.png", "segments_info": segments} for key in KEYS]
    categories = [{"id": BED, "name": "bed", "isthing": 1}]
    write(root / "ade20k_panoptic_val.json", images, lists, categories)
    run_lengths = coco_mask.encode(np.asfortranarray(green == 2, dtype=np.uint8))
    shape = {"size": list(SIZE), "counts": run_lengths["counts"].decode()}
    numbered = [{"id": number, "file_name": f"{key}.jpg"} for number, key in enumerate(KEYS, start=1)]
    one = {"image_id": 2, "category_id": WINDOW, "segmentation": shape, "area": 21, "iscrowd": 0}
    write(root / "ade20k_instance_val.json", numbered, [one], categories)
    strip(root)
    dataset = ADE20K(root=root)
    assert dataset.truth(0).instances == ()
    assert [(found.label, found.area) for found in dataset.truth(1).instances] == [(WINDOW, 21)]
    np.testing.assert_array_equal(coco_mask.decode(dataset.truth(1).instances[0].mask), green == 2)
    assert [segment.id for segment in dataset.truth(0).panoptic.segments] == [70001, 70002, 70003]
    put_ids(root / "ade20k_panoptic_val" / f"{KEYS[0]}.png", np.full(SIZE, 9))
    assert "has the segment 9, which" in complaints(root)
    write(root / "ade20k_panoptic_val.json", images[1:], lists[1:], categories)
    assert f"does not know the picture {KEYS[0]}" in complaints(root)


def write(path, images, annotations, categories):
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def complaints(root):
    return "\n".join(ADE20K(root=root).check())


def test_without_instances_the_truth_is_semantic(root):
    shutil.rmtree(root / "annotations_instance")
    dataset = ADE20K(root=root)
    assert dataset.tasks == ("semantic",)
    assert dataset.truth(0).panoptic is None
    assert dataset.truth(0).instances is None
    text = complaints(root)
    assert "its truth is semantic only" in text
    assert "annotations_instance.tar" in text


def test_check_counts(root):
    (line,) = ADE20K(root=root).check()
    assert "has 2 pictures, its publisher's has 2000" in line


def test_nothing_there(tmp_path):
    (line,) = ADE20K(root=tmp_path).check()
    assert "looked for annotations/validation (here or in ADEChallengeData2016)" in line
    assert "sceneparsing.csail.mit.edu" in line
    assert ADE20K(root=tmp_path).place is None


@pytest.mark.parametrize(
    ("red", "green", "said"),
    [
        (101, 1, "holds 101 in 660 pixels"),
        (0, 1, "has an instance without a class"),
    ],
)
def test_instances_of_no_class(root, red, green, said):
    put_instances(root, KEYS[0], np.full(SIZE, red), np.full(SIZE, green))
    assert said in complaints(root)


def test_damaged_files(root):
    put_labels(root / "annotations" / "validation" / f"{KEYS[0]}.png", np.full(SIZE, 151))
    assert "holds 151 in 660 pixels" in complaints(root)
    put_labels(root / "annotations" / "validation" / f"{KEYS[0]}.png", np.ones((5, 5)))
    assert "differ in size" in complaints(root)
    put_labels(root / "annotations_instance" / "validation" / f"{KEYS[0]}.png", np.ones(SIZE))
    assert "is no instance map of ADE20K: it has the pixel kind 'L'" in complaints(root)


def test_red_values_are_the_things_of_the_list(root):
    things = [index for index, entry in enumerate(ADE20K(root=root).vocabulary.classes) if entry.is_thing]
    assert [id - 1 for id in ids("ade20k_instance")] == things
