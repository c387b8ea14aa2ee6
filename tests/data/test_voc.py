import pickle

import numpy as np
import pytest
from helpers.label_files import noise, pixels_of, put_labels, put_palette, put_picture

from ovseg.data.preparation import prepare
from ovseg.data.voc import VOC20, VOC21
from ovseg.errors import DataError
from ovseg.interfaces import Dataset

KEYS = ("2007_000033", "2011_003271", "2008_000002")
SIZES = {"2007_000033": (18, 25), "2011_003271": (31, 12), "2008_000002": (9, 9)}


def values(key):
    return noise(int(key[-3:]), SIZES[key], [0, 1, 7, 20, 255])


@pytest.fixture
def root(tmp_path):
    """The publisher's folders, with a fourth picture that is in no list."""
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for key in KEYS:
        put_picture(voc / "JPEGImages" / f"{key}.jpg", SIZES[key])
        put_palette(voc / "SegmentationClass" / f"{key}.png", values(key))
    put_palette(voc / "SegmentationClass" / "2007_000032.png", values(KEYS[0]))
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{key}\n" for key in KEYS))
    return tmp_path


@pytest.fixture
def detectron2(tmp_path):
    """detectron2's folders alone."""
    made = tmp_path / "pascal_voc_d2"
    for key in KEYS:
        put_picture(made / "images" / "validation" / f"{key}.jpg", SIZES[key])
        put_labels(made / "annotations_pascal21" / "validation" / f"{key}.png", values(key))
    return tmp_path


def truths(dataset):
    return {key: dataset.truth(index).semantic for index, key in enumerate(dataset.keys)}


def with_background(values):
    return np.where(values == 255, -1, values.astype(int))


def without_background(values):
    return np.where((values == 255) | (values == 0), -1, values.astype(int) - 1)


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_publishers_folders_in_the_lists_order(root, below):
    dataset = VOC21(root=root / below)
    assert isinstance(dataset, Dataset)
    assert dataset.keys == list(KEYS)
    assert dataset.tasks == ("semantic",)
    for key, semantic in truths(dataset).items():
        assert semantic.dtype == np.int16
        np.testing.assert_array_equal(semantic, with_background(values(key)))


def test_twenty_classes_leave_the_background_out(root):
    dataset = VOC20(root=root)
    for key, semantic in truths(dataset).items():
        np.testing.assert_array_equal(semantic, without_background(values(key)))
    assert [entry.id for entry in dataset.vocabulary.classes] == list(range(1, 21))
    assert dataset.vocabulary.classes[0].name == "aeroplane"


@pytest.mark.parametrize(("kind", "meaning"), [(VOC21, with_background), (VOC20, without_background)])
def test_detectron2s_folders(detectron2, kind, meaning):
    dataset = kind(root=detectron2)
    assert dataset.keys == sorted(KEYS)
    for key, semantic in truths(dataset).items():
        np.testing.assert_array_equal(semantic, meaning(values(key)))


@pytest.mark.parametrize(
    ("kind", "folder"), [(VOC21, "annotations_pascal21"), (VOC20, "annotations_pascal20")]
)
def test_prepared_truth_is_the_originals(root, tmp_path, kind, folder):
    (preparation,) = kind(root=root).preparations
    assert prepare(preparation).made == 3
    assert prepare(preparation).made == 0
    made = tmp_path / "pascal_voc_d2"
    prepared = kind(root=made)
    assert prepared.layout.labels.startswith(folder)
    for key, semantic in truths(kind(root=root)).items():
        np.testing.assert_array_equal(prepared.truth(prepared.keys.index(key)).semantic, semantic)
        copy = made / "images" / "validation" / f"{key}.jpg"
        assert copy.read_bytes() == (root / "VOCdevkit/VOC2012/JPEGImages" / copy.name).read_bytes()
    written = pixels_of(made / folder / "validation" / f"{KEYS[0]}.png")
    assert set(np.unique(written)) <= ({*range(21), 255} if kind is VOC21 else {*range(20), 255})


def test_a_pickled_data_set_reads_the_same(root):
    dataset = VOC20(root=root)
    assert dataset.keys
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.truth(1).semantic, dataset.truth(1).semantic)


def complaints(dataset):
    return "\n".join(dataset.check())


def test_check_counts_the_pictures(root):
    assert "has 3 pictures, its publisher's has 1449" in complaints(VOC21(root=root))


def test_nothing_there(tmp_path):
    text = complaints(VOC20(root=tmp_path))
    assert "looked for SegmentationClass (here or in VOC2012, VOCdevkit/VOC2012)" in text
    assert "annotations_pascal20/validation" in text
    assert "host.robots.ox.ac.uk" in text
    assert "dataset.root=DIR" in text


def test_no_pictures_and_no_list(root):
    voc = root / "VOCdevkit" / "VOC2012"
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    assert "val.txt, the list of the split's pictures, cannot be read" in complaints(VOC21(root=root))
    (voc / "JPEGImages").rename(voc / "Other")
    assert "JPEGImages is not there" in complaints(VOC21(root=root))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: put_palette(path, np.full(SIZES[KEYS[0]], 21)), "holds 21 in 450 pixels"),
        (lambda path: put_palette(path, np.zeros((18, 24))), "has 25 x 18 pixels, its labels have 24 x 18"),
        (lambda path: put_palette(path, np.full(SIZES[KEYS[0]], 255)), "says nothing of any pixel"),
        (lambda path: put_picture(path, SIZES[KEYS[0]]), "is no index map: its pixels are RGB colours"),
        (lambda path: path.unlink(), "SegmentationClass lacks 1 of 3 labels (the first: 2007_000033.png)"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "is damaged"),
    ],
)
def test_damaged_labels(root, damage, said):
    path = root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / f"{KEYS[0]}.png"
    damage(path)
    text = complaints(VOC21(root=root))
    assert said in text
    assert KEYS[0] in text
    assert KEYS[1] not in text


def test_preparing_without_originals(detectron2):
    (preparation,) = VOC20(root=detectron2).preparations
    with pytest.raises(DataError, match="looked for SegmentationClass"):
        prepare(preparation)
