"""COCO 2017: the publisher's folders and detectron2's, on drawn pictures and on real ones."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import put_ids, put_json, put_picture
from pycocotools import mask as coco_mask

from ovseg.data.coco import COCOPanoptic
from ovseg.errors import AbsentDataError, DataError
from ovseg.truth import IGNORED

COCO_MINI = (
    Path(os.environ.get("OVSEG_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "coco_mini"
)

PERSON, CAR, SKY = 1, 3, 187
"""Category ids; their places in the list of 133 are 0, 2 and 119."""
IDS = np.zeros((2, 6, 8), np.int32)
IDS[0, :3], IDS[0, 3:, :4] = 9_000_000, 77
IDS[1, 1:5, 2:6], IDS[1, 5] = 300, 301
POLYGON = [1.0, 3.0, 4.0, 3.0, 4.0, 6.0, 1.0, 6.0]


def panoptic_json() -> dict:
    segments = [
        [(9_000_000, SKY, 0), (77, PERSON, 0)],
        [(300, CAR, 0), (301, PERSON, 1)],
    ]
    return {
        "images": [
            {"id": 12, "file_name": "000000000012.jpg", "height": 6, "width": 8},
            {"id": 9, "file_name": "000000000009.jpg", "height": 6, "width": 8},
        ],
        "annotations": [
            {
                "image_id": image_id,
                "file_name": f"{image_id:012}.png",
                "segments_info": [
                    {"id": id, "category_id": category, "iscrowd": crowd, "area": 1, "bbox": [0, 0, 1, 1]}
                    for id, category, crowd in rows
                ],
            }
            for image_id, rows in zip((12, 9), segments, strict=True)
        ],
        "categories": [{"id": PERSON, "name": "person", "isthing": 1}],
    }


def instances_json() -> dict:
    crowd = coco_mask.encode(np.asfortranarray(IDS[1] == 301, dtype=np.uint8))
    counts = [5, 1, 5, 1, 5, 1, 5, 1, 5, 1, 5, 1, 5, 1, 5, 1]  # column by column: the last row of 6 x 8
    return {
        "images": [{"id": 9}, {"id": 12}],
        "annotations": [
            {"image_id": 12, "category_id": PERSON, "segmentation": [POLYGON], "area": 8.5, "iscrowd": 0},
            {
                "image_id": 12,
                "category_id": CAR,
                "segmentation": {"size": [6, 8], "counts": counts},
                "area": 8,
                "iscrowd": 1,
            },
            {
                "image_id": 12,
                "category_id": CAR,
                "segmentation": {"size": [6, 8], "counts": crowd["counts"].decode()},
                "area": 8,
                "iscrowd": 1,
            },
        ],
        "categories": [],
    }


@pytest.fixture
def root(tmp_path) -> Path:
    """As the publisher's archives unpack."""
    put_json(tmp_path / "annotations" / "panoptic_val2017.json", panoptic_json())
    for ids, name in zip(IDS, ("000000000012", "000000000009"), strict=True):
        put_ids(tmp_path / "annotations" / "panoptic_val2017" / f"{name}.png", ids)
        put_picture(tmp_path / "val2017" / f"{name}.jpg")
    return tmp_path


def test_the_panoptic_and_the_semantic_view(root):
    dataset = COCOPanoptic(root=root)
    assert dataset.keys == ["000000000012", "000000000009"]
    assert dataset.tasks == ("semantic", "panoptic", "instance")
    assert [dataset.vocabulary.classes[index].name for index in (0, 2, 119)] == [
        "person",
        "car",
        "sky-other-merged",
    ]
    truth = dataset.truth(0)
    assert truth.image_size == (6, 8)
    np.testing.assert_array_equal(truth.panoptic.ids, IDS[0])
    assert [(s.id, s.label, s.is_crowd) for s in truth.panoptic.segments] == [
        (9_000_000, 119, False),
        (77, 0, False),
    ]
    wanted = np.full((6, 8), IGNORED)
    wanted[:3], wanted[3:, :4] = 119, 0
    np.testing.assert_array_equal(truth.semantic, wanted)
    assert dataset.image(1).shape == (6, 8, 3)


def test_without_coco_s_own_instances_they_are_the_segments_of_things(root):
    first, second = (COCOPanoptic(root=root).truth(index).instances for index in range(2))
    assert [(one.label, one.area, one.is_crowd) for one in first] == [(0, 12.0, False)]
    assert [(one.label, one.area, one.is_crowd) for one in second] == [(2, 16.0, False), (0, 8.0, True)]
    np.testing.assert_array_equal(coco_mask.decode(second[0].mask), IDS[1] == 300)


def test_coco_s_own_instances(root):
    put_json(root / "annotations" / "instances_val2017.json", instances_json())
    dataset = COCOPanoptic(root=root)
    found = dataset.truth(0).instances
    assert [(one.label, one.area, one.is_crowd) for one in found] == [
        (0, 8.5, False),
        (2, 8.0, True),
        (2, 8.0, True),
    ]
    square = np.zeros((6, 8), np.uint8)
    square[3:6, 1:4] = 1
    np.testing.assert_array_equal(coco_mask.decode(found[0].mask), square)
    for one in found[1:]:
        np.testing.assert_array_equal(coco_mask.decode(one.mask), IDS[1] == 301)
    assert dataset.truth(1).instances == ()


def test_the_folders_of_detectron2_and_of_mmsegmentation(root):
    before = COCOPanoptic(root=root).truth(0)
    (root / "annotations" / "panoptic_val2017").rename(root / "panoptic_val2017")
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images" / "val2017")
    dataset = COCOPanoptic(root=root)
    np.testing.assert_array_equal(dataset.truth(0).panoptic.ids, before.panoptic.ids)
    assert dataset.image(0).shape == (6, 8, 3)


def test_it_can_be_pickled_before_and_after_it_was_read(root):
    dataset = COCOPanoptic(root=root)
    early = pickle.loads(pickle.dumps(dataset))
    wanted = dataset.truth(1)
    late = pickle.loads(pickle.dumps(dataset))
    for copy in (early, late):
        np.testing.assert_array_equal(copy.truth(1).semantic, wanted.semantic)


def test_nothing_is_read_before_the_first_use(tmp_path):
    dataset = COCOPanoptic(root=tmp_path / "none")
    assert len(dataset.vocabulary) == 133
    assert dataset.place is None
    with pytest.raises(AbsentDataError) as error:
        len(dataset.keys)
    assert str(error.value) == (
        f"{tmp_path / 'none'} is not there. Download COCO 2017 panoptic from "
        "https://cocodataset.org/#download, unpack it, and give its folder: "
        "dataset.root=DIR, or set OVSEG_DATA to the folder of all data sets."
    )


def lose(path: str):
    def change(root: Path) -> None:
        target = root / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return change


def write(path: str, content: bytes):
    return lambda root: (root / path).write_bytes(content)


def change_json(change):
    content = panoptic_json()
    change(content)
    return lambda root: put_json(root / "annotations" / "panoptic_val2017.json", content)


LISTS = "annotations/panoptic_val2017.json"
MAP = "annotations/panoptic_val2017/000000000012.png"
FAULTS = {
    "no list": (lose(LISTS), "panoptic_val2017.json is not there. Download"),
    "no pictures": (lose("val2017"), "has no folder val2017 or images/val2017. Unpack it there"),
    "no maps": (
        lose("annotations/panoptic_val2017"),
        "has no folder annotations/panoptic_val2017 or panoptic_val2017.",
    ),
    "a cut list": (
        write(LISTS, b'{"images": [{"id'),
        "is no whole JSON file (Unterminated string",
    ),
    "bytes for a list": (write(LISTS, b"\xff\xfe\x00\x81"), "is no whole JSON file"),
    "another list": (write(LISTS, b'{"videos": []}'), "is not as COCO writes it: it must hold images, annot"),
    "no dictionary": (write(LISTS, b"[1]"), "is not as COCO writes it"),
    "a strange category": (
        change_json(lambda c: c["annotations"][0]["segments_info"][0].update(category_id=555)),
        "uses category ids that COCO's panoptic list of 133 has not: 555.",
    ),
    "no picture in it": (
        change_json(lambda c: c.update(annotations=[])),
        "has no picture of the split",
    ),
    "an unlisted segment": (
        change_json(lambda c: c["annotations"][0]["segments_info"].pop()),
        "ids only in the map: 77, only in the list: none.",
    ),
    "a lost picture": (
        lose("val2017/000000000009.jpg"),
        "1 of 2 pictures (the first: 000000000009.jpg)",
    ),
    "a lost map": (lose(MAP), "lacks 1 of 2 labels (the first: 000000000012.png)"),
    "a damaged picture": (write("val2017/000000000012.jpg", b"\xff\xd8\xff\xe0"), "000000000012.jpg"),
    "a damaged map": (write(MAP, b"\x89PNG\r\n\x1a\n"), "000000000012.png is"),
    "another size": (
        lambda root: put_picture(root / "val2017" / "000000000012.jpg", (6, 9)),
        "has 9 x 6 pixels, its labels have 8 x 6. One of them is another picture's",
    ),
    "all void": (
        lambda root: (
            put_ids(root / MAP, np.zeros((6, 8), int)),
            change_json(lambda c: c["annotations"][0].update(segments_info=[]))(root),
        ),
        "000000000012.jpg: its truth says nothing of any pixel",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_check_says_what_is_wrong(root, name):
    change, says = FAULTS[name]
    change(root)
    lines = [line for line in COCOPanoptic(root=root).check() if "its publisher's has 5000" not in line]
    assert len(lines) == 1, lines
    assert says in lines[0]
    assert str(root) in lines[0]


def test_check_finds_no_fault_but_the_count(root):
    (line,) = COCOPanoptic(root=root).check()
    assert line.startswith("The split 'val' has 2 pictures, its publisher's has 5000. Some were not unpacked")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["images"].pop(), "does not know 1 of 2 pictures (the first: 12)"),
        (
            lambda c: c["annotations"][0].pop("area"),
            "is not as COCO writes it: it must hold images",
        ),
        (lambda c: c["annotations"][0].update(category_id=5555), "categories that are in the list (KeyError"),
        (lambda c: c["annotations"][0].update(segmentation="x"), "must hold polygons or run lengths"),
    ],
)
def test_damaged_instances(root, change, says):
    content = instances_json()
    change(content)
    put_json(root / "annotations" / "instances_val2017.json", content)
    with pytest.raises(DataError) as error:
        COCOPanoptic(root=root).truth(0)
    assert says in str(error.value)
    assert "instances_val2017.json" in str(error.value)


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the COCO pictures are not here (OVSEG_TEST_DATA)")
def test_real_pictures():
    dataset = COCOPanoptic(root=COCO_MINI)
    assert len(dataset.keys) == 53
    lists = json.loads((COCO_MINI / "annotations" / "panoptic_val2017.json").read_text())
    things = {category["id"] for category in lists["categories"] if category["isthing"]}
    for index, annotation in enumerate(lists["annotations"]):
        truth = dataset.truth(index)
        classes = dataset.vocabulary.classes
        segments = annotation["segments_info"]
        # The JSON file states areas and crowds independently of the maps.
        areas = [int((truth.panoptic.ids == segment["id"]).sum()) for segment in segments]
        assert areas == [segment["area"] for segment in segments]
        assert [(classes[one.label].id, one.area, one.is_crowd) for one in truth.instances] == [
            (segment["category_id"], segment["area"], bool(segment["iscrowd"]))
            for segment in segments
            if segment["category_id"] in things
        ]
    assert [line.partition(".")[0] for line in dataset.check()] == [
        "The split 'val' has 53 pictures, its publisher's has 5000"
    ]
