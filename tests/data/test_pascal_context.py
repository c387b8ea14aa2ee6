import json
import sys

import numpy as np
import pytest
import scipy.io
from helpers.label_files import noise, pixels_of, put_labels, put_picture
from pycocotools import mask as coco_mask

from ovseg.data.maps import ids
from ovseg.data.pascal_context import PascalContext59, PascalContext60, PascalContext459
from ovseg.data.preparation import prepare
from ovseg.errors import ConfigError, DataError
from ovseg.interfaces import Dataset
from ovseg.vocabulary import load_vocabulary

KEYS = ("2008_000008", "2010_001692")
TRAINING = "2008_000002"
SIZE = (21, 26)
FREQUENT = ids("pascal_context_60")


def drawn(key):
    """Ids of the 459-class annotation, of frequent classes only; 0 is no class."""
    return noise(int(key[-3:]), SIZE, [0, 2, 9, 207, 458])


def frequent(key):
    """The same as positions in the list of 60."""
    return np.vectorize(FREQUENT.index)(drawn(key))


def region(image_id, mask, category, *, compressed):
    segmentation = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    if compressed:
        segmentation["counts"] = segmentation["counts"].decode()
    else:
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat, prepend=0, append=0))
        counts = np.diff(edges, prepend=0, append=flat.size).tolist()
        segmentation = {"size": list(SIZE), "counts": counts}
    return {"image_id": image_id, "category_id": int(category), "segmentation": segmentation, "iscrowd": 0}


def put_index(voc):
    images, regions = [], []
    for number, key in enumerate([*KEYS, TRAINING], start=7):
        phase = "train" if key == TRAINING else "val"
        images.append(
            {
                "image_id": number,
                "file_name": f"{key}.jpg",
                "phase": phase,
                "height": SIZE[0],
                "width": SIZE[1],
            }
        )
        for category in np.unique(drawn(key)):
            if category:
                mask = (drawn(key) == category).astype(int)
                regions.append(region(number, mask, category, compressed=number % 2 == 0))
    voc.mkdir(parents=True, exist_ok=True)
    (voc / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": regions}))


@pytest.fixture
def originals(tmp_path):
    """The pictures of VOC 2010 and both annotations, as their publishers give them."""
    voc = tmp_path / "VOCdevkit" / "VOC2010"
    put_index(voc)
    (voc / "trainval").mkdir()
    for key in (*KEYS, TRAINING):
        put_picture(voc / "JPEGImages" / f"{key}.jpg", SIZE)
        scipy.io.savemat(voc / "trainval" / f"{key}.mat", {"LabelMap": drawn(key).astype(np.uint16)})
    return tmp_path


@pytest.fixture
def mmseg(tmp_path):
    """mmsegmentation's folders."""
    voc = tmp_path / "VOCdevkit" / "VOC2010"
    for key in (*KEYS, TRAINING):
        put_picture(voc / "JPEGImages" / f"{key}.jpg", SIZE)
        put_labels(voc / "SegmentationClassContext" / f"{key}.png", frequent(key))
    lists = voc / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{key}\n" for key in KEYS))
    return tmp_path


@pytest.fixture
def detectron2(tmp_path):
    """detectron2's folders."""
    made = tmp_path / "pascal_ctx_d2"
    for key in KEYS:
        put_picture(made / "images" / "validation" / f"{key}.jpg", SIZE)
        values = frequent(key).astype(np.uint8) - 1  # the background becomes 255
        put_labels(made / "annotations_ctx59" / "validation" / f"{key}.png", values)
        path = made / "annotations_ctx459" / "validation" / f"{key}.tif"
        put_labels(path, drawn(key).astype(np.uint16) - 1, np.uint16)
    return tmp_path


def check_truths(dataset, expected):
    assert isinstance(dataset, Dataset)
    assert dataset.keys == list(KEYS)
    for index, key in enumerate(KEYS):
        np.testing.assert_array_equal(dataset.truth(index).semantic, expected(key))


@pytest.mark.parametrize("layout", ["mmseg", "detectron2"])
def test_both_layouts_in_both_sizes(layout, request):
    root = request.getfixturevalue(layout)
    check_truths(PascalContext60(root=root), frequent)
    check_truths(PascalContext59(root=root), lambda key: frequent(key) - 1)


def test_all_classes_from_detectron2s_folders(detectron2):
    check_truths(PascalContext459(root=detectron2), lambda key: drawn(key).astype(int) - 1)
    check_truths(PascalContext459(root=detectron2 / "pascal_ctx_d2"), lambda key: drawn(key).astype(int) - 1)


def test_the_frequent_ids_name_the_same_classes_in_both_lists():
    all_classes = load_vocabulary("pascal_context_459", names="plain").classes
    frequent_classes = load_vocabulary("pascal_context_59", names="plain").classes
    names = [all_classes[id - 1].name for id in FREQUENT[1:]]
    assert {"diningtable": "table"}.items() >= {
        pair
        for pair in zip((entry.name for entry in frequent_classes), names, strict=True)
        if pair[0] != pair[1]
    }


def test_preparing_the_frequent_classes(originals):
    assert PascalContext60(root=originals).place == originals / "VOCdevkit" / "VOC2010"
    (preparation,) = PascalContext59(root=originals).preparations
    assert prepare(preparation).made == 2
    assert prepare(PascalContext60(root=originals).preparations[0]).made == 0
    check_truths(PascalContext60(root=originals), frequent)
    check_truths(PascalContext59(root=originals), lambda key: frequent(key) - 1)
    voc = originals / "VOCdevkit" / "VOC2010"
    assert (voc / "ImageSets/SegmentationContext/val.txt").read_text().split() == list(KEYS)
    assert not (voc / "SegmentationClassContext" / f"{TRAINING}.png").exists()
    prepare(PascalContext59(root=originals, split="train").preparations[0])
    assert PascalContext59(root=originals, split="train").keys == [TRAINING]
    check_truths(PascalContext60(root=originals), frequent)


@pytest.mark.parametrize("listed", ["by the index", "by mmsegmentation's list"])
def test_preparing_all_classes(originals, listed):
    if "list" in listed:
        prepare(PascalContext60(root=originals).preparations[0])
        (originals / "VOCdevkit/VOC2010/trainval_merged.json").unlink()
    (preparation,) = PascalContext459(root=originals).preparations
    assert prepare(preparation).made == 2
    assert prepare(preparation).made == 0
    check_truths(PascalContext459(root=originals), lambda key: drawn(key).astype(int) - 1)
    written = pixels_of(originals / "pascal_ctx_d2/annotations_ctx459/validation" / f"{KEYS[0]}.tif")
    assert written.dtype == np.uint16
    np.testing.assert_array_equal(written, drawn(KEYS[0]).astype(np.uint16) - 1)


def test_only_rare_classes_are_ignored_in_sixty(detectron2):
    """What is no class in detectron2's 59 is background in 60, and nothing in 59."""
    dataset = PascalContext60(root=detectron2)
    assert dataset.truth(0).semantic.min() == 0
    assert PascalContext59(root=detectron2).truth(0).semantic.min() == -1


def refusal(dataset):
    with pytest.raises(DataError) as caught:
        prepare(dataset.preparations[0])
    return str(caught.value)


def test_originals_that_are_missing(originals):
    voc = originals / "VOCdevkit" / "VOC2010"
    (voc / "trainval" / f"{KEYS[0]}.mat").unlink()
    assert f"{KEYS[0]}.mat is not there. Unpack trainval.tar.gz" in refusal(PascalContext459(root=originals))
    (voc / "trainval_merged.json").unlink()
    text = refusal(PascalContext60(root=originals))
    assert "trainval_merged.json is not there: it says which pictures are in which split" in text
    assert "trainval_merged.json is not there" in refusal(PascalContext459(root=originals))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not matlab", "is no MATLAB file with a LabelMap"),
        ({"Other": np.ones(SIZE)}, "is no MATLAB file with a LabelMap"),
        ({"LabelMap": np.full(SIZE, 460)}, "has no map of the ids 0..459"),
        ({"LabelMap": np.ones((2, 3, 4))}, "has no map of the ids 0..459 (shape (2, 3, 4))"),
    ],
)
def test_damaged_matlab_files(originals, content, said):
    path = originals / "VOCdevkit" / "VOC2010" / "trainval" / f"{KEYS[0]}.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        scipy.io.savemat(path, content)
    assert said in refusal(PascalContext459(root=originals))


def test_damaged_index(originals):
    path = originals / "VOCdevkit" / "VOC2010" / "trainval_merged.json"
    content = json.loads(path.read_text())
    content["annos_segmentation"][0]["category_id"] = 1
    path.write_text(json.dumps(content))
    assert "holds 1 in" in refusal(PascalContext60(root=originals))
    content["annos_segmentation"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6]]
    path.write_text(json.dumps(content))
    assert f"a region of the picture {KEYS[0]} is no run-length mask" in refusal(
        PascalContext60(root=originals)
    )
    path.write_text(json.dumps({"images": [{"file_name": "a.jpg"}]}))
    assert "has no list 'images' whose entries have file_name, phase" in refusal(
        PascalContext60(root=originals)
    )
    path.write_text("{")
    assert "trainval_merged.json is damaged" in refusal(PascalContext60(root=originals))


def test_scipy_that_is_not_installed(originals, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ConfigError, match=r"needs the package 'scipy'.*pip install 'ovseg\[prepare\]'"):
        prepare(PascalContext459(root=originals).preparations[0])


def test_nothing_is_prepared_yet(originals):
    (line,) = PascalContext459(root=originals).check()
    assert "'ovseg prepare pascal_context_459' makes them" in line
    (line,) = PascalContext59(root=originals).check()
    assert "'ovseg prepare pascal_context_60' makes them, for 59 classes too" in line


def test_check_counts_and_finds_strange_values(mmseg):
    put_labels(mmseg / "VOCdevkit/VOC2010/SegmentationClassContext" / f"{KEYS[1]}.png", np.full(SIZE, 60))
    count, strange = PascalContext59(root=mmseg).check()
    assert "has 2 pictures, its publisher's has 5104" in count
    assert "holds 60 in 546 pixels" in strange
