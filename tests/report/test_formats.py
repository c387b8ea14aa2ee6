"""COCO and PNG encoders on maps made by hand; whole runs are tested with `ovseg.run.predict`."""

import io

import numpy as np
import PIL.Image
import pytest
import torch

from ovseg.errors import OutputError
from ovseg.report.coco import category_ids, image_ids, instance_annotations, segments_info
from ovseg.report.files import write_chunks, write_file, write_json
from ovseg.report.pngs import ignore_value, panoptic_png, semantic_png
from ovseg.types import Instances, Panoptic, Segment
from ovseg.vocabulary import ClassEntry, Vocabulary


def decode(png):
    return np.asarray(PIL.Image.open(io.BytesIO(png)))


def vocabulary(*ids):
    return Vocabulary("v", tuple(ClassEntry((f"c{i}",), id=value) for i, value in enumerate(ids)))


@pytest.mark.parametrize(
    ("classes", "kind", "nothing"),
    [(1, np.uint8, 255), (255, np.uint8, 255), (256, np.uint16, 65535), (1203, np.uint16, 65535)],
)
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_semantic_png(classes, kind, nothing, dtype):
    labels = torch.tensor([[0, classes - 1, -1]], dtype=dtype)
    decoded = decode(semantic_png(labels, classes))
    assert decoded.dtype == kind
    assert decoded.tolist() == [[0, classes - 1, nothing]]
    assert ignore_value(classes) == nothing


def test_semantic_png_of_too_many_classes():
    with pytest.raises(
        OutputError, match=r"at most 65535 classes, the vocabulary has 65536. Shorten it, or leave out"
    ):
        semantic_png(torch.zeros(1, 1, dtype=torch.int64), 65536)


def test_panoptic_png():
    ids = torch.tensor([[0, 255, 256], [65536, 2**24 - 1, 1]])
    decoded = decode(panoptic_png(ids))
    assert decoded.tolist() == [
        [[0, 0, 0], [255, 0, 0], [0, 1, 0]],
        [[0, 0, 1], [255, 255, 255], [1, 0, 0]],
    ]
    for bad in (2**24, -1):
        with pytest.raises(ValueError, match=rf"must be in 0\.\.16777215, got .*{bad}"):
            panoptic_png(torch.full((2, 2), bad))


def test_category_ids():
    assert category_ids(vocabulary(5, 9, 2)) == [5, 9, 2]
    assert category_ids(vocabulary(5, None, 2)) == [0, 1, 2]
    assert category_ids(vocabulary(5, 5, 2)) == [0, 1, 2]


def test_image_ids():
    assert image_ids(["000000000139", "7", "0"]) == [139, 7, 0]
    assert image_ids(["139", "cat"]) == [1, 2]
    assert image_ids(["7", "007"]) == [1, 2]
    assert image_ids(["²"]) == [1]
    assert image_ids([]) == []


def test_segments_info_is_measured_on_the_map():
    ids = np.zeros((7, 9), np.int64)
    ids[2:5, 3:8] = 4
    ids[3, 0] = 4
    ids[6, 8] = 70000
    panoptic = Panoptic(
        torch.from_numpy(ids),
        (Segment(4, 1, True, 0.5, 999), Segment(70000, 0, False, None, 1), Segment(5, 0, True, None, 0)),
    )
    assert segments_info(panoptic, vocabulary(10, 20)) == [
        {"id": 4, "category_id": 20, "area": 16, "bbox": [0, 2, 8, 3], "iscrowd": 0, "score": 0.5},
        {"id": 70000, "category_id": 10, "area": 1, "bbox": [8, 6, 1, 1], "iscrowd": 0},
    ]


def read_counts(text):
    """COCO's compressed RLE: 5 bits a character from 48, as differences to the count before the last."""
    counts, position = [], 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48
            value |= (code & 31) << shift
            more, shift, position = bool(code & 32), shift + 5, position + 1
            if not more and code & 16:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def test_instance_annotations():
    masks = np.zeros((3, 6, 8), bool)
    masks[0, 1:4, 2:7] = True
    masks[1] = np.random.default_rng(0).random((6, 8)) > 0.5
    instances = Instances(torch.from_numpy(masks), torch.tensor([1, 0, 0]), torch.tensor([0.25, 0.5, 0.75]))
    found = instance_annotations(instances, vocabulary(10, 20))
    assert len(found) == 2  # the third has no pixel
    assert [entry["category_id"] for entry in found] == [20, 10]
    assert [entry["score"] for entry in found] == [0.25, 0.5]
    assert found[0]["bbox"] == [2, 1, 5, 3]
    for entry, mask in zip(found, masks, strict=False):
        assert entry["segmentation"]["size"] == [6, 8]
        counts = read_counts(entry["segmentation"]["counts"])
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)  # columns first
        np.testing.assert_array_equal(flat.reshape(8, 6).T, mask)
        assert entry["area"] == mask.sum()


def test_files_are_whole_or_not_there(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, "ä", "\udc80"]})
    before = path.read_bytes()

    def broken():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(
        OutputError, match=r"x.json cannot be written: No space left on device. Free some space"
    ):
        write_chunks(path, broken())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_advice_by_kind_of_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="A file or folder of that name is in the way"):
        write_file(tmp_path / "file" / "x", b"")
    with pytest.raises(
        OutputError, match=r"No such file or directory\. Check the disk, or choose another folder"
    ):
        write_file(tmp_path / "missing" / "x", b"")


def test_files_have_ordinary_permissions(tmp_path):
    write_file(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
