import sys

import cv2
import numpy as np
import pytest
from helpers.label_files import noise, pixels_of, put_channels, put_labels, put_picture

from ovseg.data.ade20k_full import ADE20KFull, shrunk_size
from ovseg.data.preparation import prepare
from ovseg.errors import ConfigError, DataError
from ovseg.interfaces import Dataset
from ovseg.vocabulary import load_vocabulary

CLASSES = load_vocabulary("ade20k_847").classes
WALL, SKY, RARE = 2978, 2420, 1
SIZES = {"ADE_val_00000001": (37, 50), "ADE_val_00000002": (530, 700)}
SCENES = {"ADE_val_00000001": "urban/street", "ADE_val_00000002": "home_or_hotel/bedroom"}


def drawn(key):
    return noise(int(key[-1]), SIZES[key], [0, WALL, SKY, RARE, 3148])


def labels_of(ids):
    index_of = {entry.id: index for index, entry in enumerate(CLASSES)}
    return np.vectorize(lambda id: index_of.get(id, -1))(ids)


@pytest.fixture
def root(tmp_path):
    """The publisher's tree: scenes, parts beside the segments, a folder of masks per picture."""
    root = tmp_path / "ADE20K_2021_17_01"
    for key, scene in SCENES.items():
        folder = root / "images" / "ADE" / "validation" / scene
        put_picture(folder / f"{key}.jpg", SIZES[key], seed=3)
        ids = drawn(key)
        put_channels(
            folder / f"{key}_seg.png", ids // 256 * 10 + 3, ids % 256, np.arange(ids.size).reshape(ids.shape)
        )
        put_channels(folder / f"{key}_parts_1.png", ids * 0)
        put_channels(folder / key / "instance_000_seg.png", ids * 0)
        put_picture(folder / key / "instance_000.jpg", (3, 3))
    return root


def test_detectron2s_folders(tmp_path):
    values = np.array([[0, 846], [65535, 12]])
    put_picture(tmp_path / "images_detectron2" / "validation" / "a.jpg", (2, 2))
    put_labels(tmp_path / "annotations_detectron2" / "validation" / "a.tif", values, np.uint16)
    dataset = ADE20KFull(root=tmp_path)
    assert isinstance(dataset, Dataset)
    np.testing.assert_array_equal(dataset.truth(0).semantic, [[0, 846], [-1, 12]])
    put_labels(tmp_path / "annotations_detectron2" / "validation" / "a.tif", values + 1, np.uint16)
    assert "holds 847 in 1 pixels" in "\n".join(dataset.check())


def test_preparing(root):
    (preparation,) = ADE20KFull(root=root).preparations
    assert prepare(preparation).made == 2
    assert prepare(preparation).made == 0
    dataset = ADE20KFull(root=root.parent)
    assert dataset.keys == list(SIZES)
    small, large = (dataset.truth(index) for index in range(2))
    np.testing.assert_array_equal(small.semantic, labels_of(drawn("ADE_val_00000001")))
    # 530 x 700 becomes 512 x 676; OpenCV's nearest takes floor(i * old / new).
    rows = np.floor(np.arange(512) * (530 / 512)).astype(int)
    columns = np.floor(np.arange(676) * (700 / 676)).astype(int)
    full = labels_of(drawn("ADE_val_00000002"))
    np.testing.assert_array_equal(large.semantic, full[rows][:, columns])
    assert dataset.image(1).shape == (512, 676, 3)


def test_shrunk_pictures_are_opencvs_linear_resize(root):
    prepare(ADE20KFull(root=root).preparations[0])
    original = root / "images/ADE/validation/home_or_hotel/bedroom/ADE_val_00000002.jpg"
    expected = cv2.resize(pixels_of(original), (676, 512), interpolation=cv2.INTER_LINEAR)
    made = ADE20KFull(root=root).image(1)
    # The rest is what JPEG takes away.
    assert np.abs(made.astype(int) - expected).mean() < 12
    assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("size", "shrunk"),
    [
        ((512, 900), (512, 900)),
        ((683, 1024), (512, 768)),
        ((1024, 683), (768, 512)),
        ((700, 701), (512, 513)),
    ],
)
def test_sizes(size, shrunk):
    assert shrunk_size(*size) == shrunk


def test_not_prepared_yet(root):
    dataset = ADE20KFull(root=root)
    assert dataset.place == root
    (line,) = dataset.check()
    assert "'ovseg prepare ade20k_847' makes them" in line


def refusal(root):
    with pytest.raises(DataError) as caught:
        prepare(ADE20KFull(root=root).preparations[0])
    return str(caught.value)


def test_originals_that_are_missing_or_damaged(root, tmp_path):
    segments = root / "images/ADE/validation/urban/street/ADE_val_00000001_seg.png"
    put_channels(segments, np.zeros((5, 5)))
    assert "differ in size" in refusal(root)
    put_labels(segments, np.zeros((37, 50)))
    assert "has the pixel kind 'L', not RGB" in refusal(root)
    text = refusal(tmp_path / "elsewhere")
    assert "has no *_seg.png" in text
    assert "version 2021_17_01" in text


def test_opencv_that_is_not_installed(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match="opencv-python-headless"):
        prepare(ADE20KFull(root=root).preparations[0])
