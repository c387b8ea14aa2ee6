"""COCO-Stuff and COCO-Object: originals, mmsegmentation's and detectron2's files."""

import pickle

import numpy as np
import PIL.Image
import pytest
from helpers.dataset_files import files_of, put_map, put_picture

from ovseg.data.coco_object import COCOObject
from ovseg.data.coco_stuff import COCOStuff
from ovseg.data.preparation import Outcome, prepare
from ovseg.errors import AbsentDataError, DataError
from ovseg.truth import IGNORED

UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Values of the originals that were never used, as both benchmarks' converters skip them."""
USED = [value for value in range(182) if value not in UNUSED]
VALUES = np.array([*USED, 255]).reshape(4, 43)
STUFF = np.where(VALUES == 255, IGNORED, np.searchsorted(USED, VALUES))
THINGS = [value for value in USED if value <= 90]
OBJECT = np.where(np.isin(VALUES, THINGS), np.searchsorted(USED, VALUES) + 1, 0)

ORIGINALS = ("stuffthingmaps/val2017", "annotations/stuffthingmaps/val2017", "annotations/val2017")
STEMS = ("000000000139", "000000000285")


def put_pictures(root, folder="val2017"):
    for stem in STEMS:
        put_picture(root / folder / f"{stem}.jpg", VALUES.shape)


def put_originals(root, folder=ORIGINALS[0]):
    put_pictures(root)
    for shift, stem in enumerate(STEMS):
        put_map(root / folder / f"{stem}.png", np.roll(VALUES, shift, axis=0))


@pytest.mark.parametrize("folder", ORIGINALS)
@pytest.mark.parametrize(("kind", "wanted"), [(COCOStuff, STUFF), (COCOObject, OBJECT)])
def test_originals(tmp_path, folder, kind, wanted):
    put_originals(tmp_path, folder)
    dataset = pickle.loads(pickle.dumps(kind(root=tmp_path)))
    assert dataset.keys == list(STEMS)
    assert dataset.tasks == ("semantic",)
    for index in range(2):
        truth = dataset.truth(index)
        np.testing.assert_array_equal(truth.semantic, np.roll(wanted, index, axis=0))
        assert (truth.image_size, truth.panoptic, truth.instances) == (VALUES.shape, None, None)


@pytest.mark.parametrize(("kind", "wanted"), [(COCOStuff, STUFF), (COCOObject, OBJECT)])
def test_the_values_name_the_classes(tmp_path, kind, wanted):
    put_originals(tmp_path)
    dataset = kind(root=tmp_path)
    names = {
        value: dataset.vocabulary.classes[label].names
        for value, label in zip(VALUES.ravel().tolist(), dataset.truth(0).semantic.ravel(), strict=True)
        if label != IGNORED
    }
    assert names[0] == ("person",)
    assert names[12] == ("stop sign",)  # id 13; 12 was never used
    assert names[89] == ("toothbrush",)  # id 90, the last thing
    assert len(dataset.vocabulary) == wanted.max() + 1


@pytest.mark.parametrize(
    ("kind", "folder", "ending", "values", "wanted"),
    [
        (COCOStuff, "annotations/val2017", "_labelTrainIds.png", STUFF % 256, STUFF),
        (COCOStuff, "annotations_detectron2/val2017", ".png", STUFF % 256, STUFF),
        (COCOStuff, "stuffthingmaps_detectron2/val2017", ".png", STUFF % 256, STUFF),
        (COCOObject, "annotations/val2017", "_instanceTrainIds.png", OBJECT, OBJECT),
    ],
)
def test_prepared_files(tmp_path, kind, folder, ending, values, wanted):
    put_pictures(tmp_path, "images/val2017")
    for stem in STEMS:
        put_map(tmp_path / folder / f"{stem}{ending}", values)
    dataset = kind(root=tmp_path)
    assert dataset.keys == list(STEMS)
    np.testing.assert_array_equal(dataset.truth(1).semantic, wanted)


def test_files_of_both_benchmarks_beside_the_originals_are_told_apart(tmp_path):
    put_originals(tmp_path, "annotations/val2017")
    for kind in (COCOStuff, COCOObject):
        for one in kind(root=tmp_path).preparations:
            assert prepare(one) == Outcome(made=2, kept=0)
    assert len(list((tmp_path / "annotations" / "val2017").glob("*.png"))) == 6
    for kind, wanted in ((COCOStuff, STUFF), (COCOObject, OBJECT)):
        dataset = kind(root=tmp_path)
        assert dataset.keys == list(STEMS)
        assert dataset.layout.ending == ".png"
        np.testing.assert_array_equal(dataset.truth(0).semantic, wanted)


@pytest.mark.parametrize(("kind", "wanted"), [(COCOStuff, STUFF), (COCOObject, OBJECT)])
def test_prepare_makes_mmsegmentation_s_files(tmp_path, kind, wanted):
    put_originals(tmp_path)
    (preparation,) = kind(root=tmp_path).preparations
    prepare(preparation)
    made = tmp_path / "annotations" / "val2017" / f"{STEMS[0]}{kind.prepared_ending}"
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(made)), np.where(wanted < 0, 255, wanted))
    before = files_of(tmp_path)
    assert prepare(preparation) == Outcome(made=0, kept=2)
    assert files_of(tmp_path) == before
    for stem in STEMS:
        (tmp_path / "stuffthingmaps" / "val2017" / f"{stem}.png").unlink()
    np.testing.assert_array_equal(kind(root=tmp_path).truth(1).semantic, np.roll(wanted, 1, axis=0))


def test_half_made_files_are_said(tmp_path):
    put_originals(tmp_path)
    (tmp_path / "stuffthingmaps" / "val2017" / f"{STEMS[1]}.png").write_bytes(b"x")
    dataset = COCOStuff(root=tmp_path)
    with pytest.raises(DataError, match=f"{STEMS[1]}.png is not a picture that can be read"):
        prepare(dataset.preparations[0])
    half = f"{tmp_path / 'annotations' / 'val2017'}: labelTrainIds of val are half made. Run 'ovseg prepare'"
    assert any(line.startswith(half) for line in dataset.missing())


def test_values_that_were_never_used_are_found(tmp_path):
    put_originals(tmp_path)
    put_map(tmp_path / ORIGINALS[0] / f"{STEMS[0]}.png", np.where(VALUES == 5, 90, VALUES))
    for kind in (COCOStuff, COCOObject):
        lines = [line for line in kind(root=tmp_path).check() if "5000" not in line]
        assert len(lines) == 1
        assert f"{STEMS[0]}.png holds 90 in 1 pixels, which is no label of this data set" in lines[0]


def test_what_is_not_there(tmp_path):
    dataset = COCOStuff(root=tmp_path)
    put_pictures(tmp_path)
    assert dataset.place is None
    with pytest.raises(AbsentDataError) as error:
        len(dataset.keys)
    assert f"{tmp_path} has none of these label files: stuffthingmaps/val2017/*.png, " in str(error.value)
    assert "annotations/val2017/*_labelTrainIds.png" in str(error.value)
    assert f"unpack it into {tmp_path / 'stuffthingmaps'}, or correct dataset.root" in str(error.value)
    with pytest.raises(AbsentDataError, match="has none of these label files: stuffthingmaps"):
        prepare(dataset.preparations[0])


def test_the_training_split(tmp_path):
    put_pictures(tmp_path, "train2017")
    put_map(tmp_path / "stuffthingmaps" / "train2017" / f"{STEMS[0]}.png", VALUES)
    dataset = COCOStuff(root=tmp_path, split="train")
    np.testing.assert_array_equal(dataset.truth(0).semantic, STUFF)
    assert "its publisher's has 118287" in next(iter(dataset.missing()))
