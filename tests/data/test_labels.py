"""Label files through tables, and panoptic ids."""

import numpy as np
import PIL.Image
import pytest
from helpers.dataset_files import put_ids, put_map, put_picture

from ovseg.data.labels import label_table, read_index_map, read_labels, read_panoptic_ids, same_labels
from ovseg.errors import DataError
from ovseg.truth import IGNORED

VALUES = np.array([[0, 1, 2], [2, 255, 1]])


@pytest.mark.parametrize("palette", [False, True])
def test_an_index_is_read_and_not_its_colour(tmp_path, palette):
    path = put_map(tmp_path / "a.png", VALUES, palette=palette)
    np.testing.assert_array_equal(read_index_map(path), VALUES)
    np.testing.assert_array_equal(
        read_labels(path, same_labels(3)), np.where(VALUES == 255, IGNORED, VALUES).astype(np.int16)
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits(tmp_path, suffix):
    values = np.array([[0, 846, 65535]], np.uint16)
    labels = read_labels(put_map(tmp_path / f"a{suffix}", values), same_labels(847, ignored=[65535], bits=16))
    assert labels.dtype == np.int16
    assert labels.tolist() == [[0, 846, IGNORED]]


def test_a_table_renames_ignores_and_takes_the_rest_for_nothing(tmp_path):
    path = put_map(tmp_path / "a.png", VALUES)
    table = label_table({1: 5, 2: 4}, others=IGNORED)
    assert read_labels(path, table).tolist() == [[IGNORED, 5, 4], [4, IGNORED, 5]]


def test_values_outside_the_list_are_named(tmp_path):
    path = put_map(tmp_path / "a.png", [[0, 7, 9, 9], [11, 13, 15, 17]])
    with pytest.raises(DataError) as error:
        read_labels(path, label_table({0: 0, 1: 1, 2: 2}, ignored=[200, 255]))
    assert f"{path} holds 7, 9, 11, 13, 15 and 1 other values in 7 pixels" in str(error.value)
    assert "(allowed: 0..2, 200, 255)" in str(error.value)
    assert "get it again" in str(error.value)


def test_a_sixteen_bit_file_through_a_table_of_eight(tmp_path):
    good = put_map(tmp_path / "a.png", np.array([[0, 255]], np.uint16))
    assert read_labels(good, same_labels(1)).tolist() == [[0, IGNORED]]
    bad = put_map(tmp_path / "b.png", np.array([[0, 256]], np.uint16))
    with pytest.raises(DataError, match=r"holds 256 in 1 pixels.*allowed: 0, 255"):
        read_labels(bad, same_labels(1))


def test_a_map_of_no_pixels_is_no_error_of_ours(tmp_path):
    assert same_labels(150).shape == (256,)


@pytest.mark.parametrize(
    ("mode", "says"),
    [("RGB", "RGB colours"), ("1", "one bit"), ("F", "floating-point numbers"), ("LA", "of the kind 'LA'")],
)
def test_what_is_no_index_map(tmp_path, mode, says):
    path = tmp_path / ("a.tif" if mode == "F" else "a.png")
    PIL.Image.new(mode, (3, 2)).save(path)
    with pytest.raises(DataError, match=f"no index map: its pixels are {says}.*Name the folder"):
        read_index_map(path)


def test_damaged_absent_and_empty_files_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    cut = put_map(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 9, (60, 60)))
    cut.write_bytes(cut.read_bytes()[:300])
    for name, says in {
        "none.png": "does not exist",
        "empty.png": "is empty",
        "cut.png": "is damaged",
    }.items():
        with pytest.raises(DataError, match=f"{name} {says}"):
            read_index_map(tmp_path / name)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_panoptic_ids(tmp_path, mode):
    ids = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]])
    path = put_ids(tmp_path / "a.png", ids)
    PIL.Image.open(path).convert(mode).save(path)
    read = read_panoptic_ids(path)
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, ids)


def test_what_is_no_panoptic_map(tmp_path):
    with pytest.raises(DataError, match="no panoptic map: its pixels are one grey value, not three channels"):
        read_panoptic_ids(put_map(tmp_path / "a.png", VALUES))
    with pytest.raises(DataError, match="does not exist"):
        read_panoptic_ids(put_picture(tmp_path / "b.png").with_name("c.png"))
