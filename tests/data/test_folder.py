"""A user's own pictures and labels."""

import numpy as np
import pytest
from helpers.dataset_files import put_ids, put_json, put_map, put_picture

from ovseg.build import build_component
from ovseg.errors import ConfigError, DataError, VocabularyError
from ovseg.truth import IGNORED

LABELS = np.kron([[0, 1, 2, 255]], np.ones((6, 2), int))
WANTED = np.where(LABELS == 255, IGNORED, LABELS)


def dataset_in(root, **keys):
    return build_component("datasets", {"name": "folder", "root": str(root), **keys})


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("dog|puppy\ncat\nstuff:grass\n")
    for key, suffix in {"a": ".jpg", "sub/b": ".PNG", "sub/a": ".jpg"}.items():
        put_picture(tmp_path / "images" / f"{key}{suffix}")
        put_map(tmp_path / "labels" / f"{key}.png", LABELS)
    return tmp_path


def test_pictures_and_index_maps(root):
    dataset = dataset_in(root)
    assert dataset.keys == ["a", "sub/a", "sub/b"]
    assert dataset.tasks == ("semantic",)
    assert [entry.names for entry in dataset.vocabulary.classes] == [("dog", "puppy"), ("cat",), ("grass",)]
    for index in range(3):
        np.testing.assert_array_equal(dataset.truth(index).semantic, WANTED)
        assert dataset.image(index).shape == (6, 8, 3)
    assert list(dataset.check()) == []


def test_sixteen_bits_a_first_label_and_other_values_to_ignore(root):
    values = np.kron([[0, 1, 3, 65535]], np.ones((6, 2))).astype(np.uint16)
    for key in ("a", "sub/a"):
        put_map(root / "labels" / f"{key}.png", values)
    (root / "labels" / "sub" / "b.png").unlink()
    put_map(root / "labels" / "sub" / "b.tif", values)
    dataset = dataset_in(root, first_label=1, ignored=(65535,))
    for index in range(3):
        np.testing.assert_array_equal(np.unique(dataset.truth(index).semantic), [IGNORED, 0, 2])


def test_a_value_of_a_class_is_never_ignored(root):
    (root / "classes.txt").write_text("\n".join(f"c{number}" for number in range(300)))
    assert dataset_in(root).truth(0).semantic.max() == 255


def test_other_names(root):
    (root / "labels").rename(root / "truth")
    (root / "images").rename(root / "photos")
    for path in list((root / "truth").rglob("*.png")):
        path.rename(path.with_name(f"{path.stem}_labels.png"))
    (root / "classes.txt").rename(root / "ade20k_150.txt")
    dataset = dataset_in(
        root, images="photos", labels="truth", label_ending="_labels", classes="ade20k_150.txt"
    )
    np.testing.assert_array_equal(dataset.truth(2).semantic, WANTED)
    # The file is not the built-in list of that name.
    assert (len(dataset.vocabulary), dataset.vocabulary.name) == (3, f"{root.name}-ade20k_150")


def test_a_built_in_list(root):
    dataset = dataset_in(root, classes="ade20k_150")
    assert (len(dataset.vocabulary), dataset.vocabulary.name) == (150, "ade20k_150")


def test_splits_as_folders(root):
    assert dataset_in(root, split="sub").keys == ["a", "b"]
    np.testing.assert_array_equal(dataset_in(root, split="sub").truth(1).semantic, WANTED)


def test_splits_as_lists(root):
    (root / "val.txt").write_text("# mine\nsub/b\n\na.jpg\nsub/b.PNG\n")
    dataset = dataset_in(root, split="val")
    assert dataset.keys == ["sub/b", "a"]
    (root / "val.txt").write_text("a\nsub/c\nd\n")
    with pytest.raises(DataError, match=r"val.txt names 2 of 3 pictures .* \(the first: sub/c\)"):
        len(dataset_in(root, split="val").keys)
    with pytest.raises(DataError, match=r"split=test: there is neither the folder .*test nor the list"):
        len(dataset_in(root, split="test").keys)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: (root / "labels" / "a.png").unlink(), "labels lacks 1 of 1 labels (the first: a.png)"),
        (
            lambda root: put_map(root / "labels" / "a.png", LABELS % 99),
            "a.png holds 57 in 12 pixels, which is no label of this data set (allowed: 0..2, 255)",
        ),
        (lambda root: put_picture(root / "labels" / "a.png"), "a.png is no index map: its pixels are RGB"),
        (
            lambda root: put_map(root / "labels" / "a.png", LABELS * 0 + 255),
            "says nothing of any pixel",
        ),
        (
            lambda root: put_picture(root / "images" / "a.jpg", (8, 6)),
            "6 x 8 pixels, its labels have 8 x 6",
        ),
        (lambda root: (root / "images" / "a.jpg").write_bytes(b"GIF89a"), "a.jpg is a GIF picture"),
        (lambda root: put_picture(root / "images" / "a.png"), "a.jpg and"),
    ],
)
def test_check_says_what_is_wrong(root, change, says):
    change(root)
    lines = list(dataset_in(root).check())
    assert len(lines) == 1, lines
    assert says in lines[0]


def test_folders_that_are_not_there(root, tmp_path):
    for keys, says in (
        ({"images": "photos"}, r"photos is no folder. Give the folder of pictures: dataset.images=DIR"),
        ({"labels": "truth"}, r"truth is no folder. Give the folder of index maps: dataset.labels=DIR"),
        ({"root": tmp_path / "none"}, r"none is not there"),
    ):
        with pytest.raises(DataError, match=says):
            len(dataset_in(**{"root": root, **keys}).keys)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no picture\. Give the folder "):
        len(dataset_in(root, images="empty").keys)


def test_classes_that_are_not_there(root):
    with pytest.raises(DataError, match=r"classes=ade20k: there is no file .*Did you mean 'ade20k_"):
        len(dataset_in(root, classes="ade20k").vocabulary)
    (root / "classes.txt").write_text("# nothing\n")
    with pytest.raises(VocabularyError):
        len(dataset_in(root).vocabulary)


def test_keys_that_do_not_go_together(root):
    with pytest.raises(ConfigError, match=r"panoptic=p.json: both are given. Give the folder"):
        dataset_in(root, panoptic="p.json")
    with pytest.raises(ConfigError, match="none is given"):
        dataset_in(root, labels=None)
    with pytest.raises(ConfigError, match="classes=null: index maps name no classes"):
        dataset_in(root, classes=None)


IDS = np.kron([[1, 2, 70_000, 0]], np.ones((6, 2), int))


@pytest.fixture
def panoptic(root):
    """Truth in COCO's panoptic format, of the picture sub/b alone; ids of categories are anything."""
    put_ids(root / "panoptic" / "b.png", IDS)
    segments = [(1, 40), (2, 40), (70_000, 7)]
    content = {
        "images": [{"id": "b", "file_name": "sub/b.PNG"}],
        "annotations": [
            {
                "image_id": "b",
                "file_name": "b.png",
                "segments_info": [{"id": id, "category_id": category} for id, category in segments],
            }
        ],
        "categories": [{"id": 7, "name": "Grass", "isthing": 0}, {"id": 40, "name": "puppy", "isthing": 1}],
    }
    put_json(root / "panoptic.json", content)
    return root, content


def test_a_built_in_list_speaks_in_its_publishers_words(panoptic):
    root, content = panoptic
    content["categories"] = [
        {"id": 7, "name": "grass-merged", "isthing": 0},
        {"id": 40, "name": "orange", "isthing": 1},
    ]
    put_json(root / "panoptic.json", content)
    dataset = dataset_in(root, labels=None, panoptic="panoptic.json", classes="coco_panoptic")
    labels = [one.label for one in dataset.truth(0).panoptic.segments]
    names = [dataset.vocabulary.classes[label].name for label in labels]
    assert names == ["orange", "orange", "grass-merged"]


def test_panoptic_truth_by_the_names_of_classes(panoptic):
    dataset = dataset_in(panoptic[0], labels=None, panoptic="panoptic.json")
    assert dataset.keys == ["sub/b"]
    assert dataset.tasks == ("semantic", "panoptic", "instance")
    truth = dataset.truth(0)
    assert [(one.id, one.label) for one in truth.panoptic.segments] == [
        (1, 0),
        (2, 0),
        (70_000, 2),
    ]
    np.testing.assert_array_equal(truth.semantic[0], [0, 0, 0, 0, 2, 2, IGNORED, IGNORED])
    assert [(one.label, one.area) for one in truth.instances] == [(0, 12.0), (0, 12.0)]
    assert list(dataset.check()) == []


def test_panoptic_truth_with_its_own_categories_and_maps_elsewhere(panoptic):
    root, _ = panoptic
    (root / "panoptic").rename(root / "maps")
    dataset = dataset_in(root, labels=None, panoptic="panoptic.json", panoptic_maps="maps", classes=None)
    assert [(entry.name, entry.is_thing) for entry in dataset.vocabulary.classes] == [
        ("Grass", False),
        ("puppy", True),
    ]
    assert dataset.truth(0).semantic[0].tolist() == [1, 1, 1, 1, 0, 0, IGNORED, IGNORED]


def test_a_list_of_panoptic_pictures(panoptic):
    root, content = panoptic
    content["images"].append({"id": "a", "file_name": "a.jpg"})
    content["annotations"].insert(0, {"image_id": "a", "file_name": "a.png", "segments_info": []})
    put_json(root / "panoptic.json", content)
    (root / "val.txt").write_text("sub/b\n")
    dataset = dataset_in(root, labels=None, panoptic="panoptic.json", split="val")
    assert len(dataset.truth(0).panoptic.segments) == 3


@pytest.mark.parametrize(
    ("category", "says"),
    [
        ({"name": "gras"}, "the category 'gras', which is no class of 'classes'. Did you mean 'grass'?"),
        (
            {"isthing": 1},
            "says that 'Grass' is a thing, the class list that it is stuff. Write 'stuff:",
        ),
    ],
)
def test_categories_that_do_not_fit_the_classes(panoptic, category, says):
    root, content = panoptic
    content["categories"][0].update(category)
    put_json(root / "panoptic.json", content)
    with pytest.raises(DataError) as error:
        dataset_in(root, labels=None, panoptic="panoptic.json").truth(0)
    assert says in str(error.value)
