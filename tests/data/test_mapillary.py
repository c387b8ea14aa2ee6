import json

import numpy as np
import pytest
from helpers.label_files import noise, put_ids, put_palette, put_picture

from ovseg.data.mapillary import MapillaryVistas
from ovseg.interfaces import Dataset

KEYS = ["-1Gn_WkbzKp", "zZ9_abc"]
SIZE = (20, 27)


def drawn(key):
    return noise(len(key), SIZE, [0, 13, 64, 65])


def segments_of(key):
    """Ids of segments: the label's category in the high byte; 0 where nothing is labelled."""
    labels = drawn(key)
    return np.where(labels == 65, 0, (labels.astype(np.int64) + 1) * 65536 + 3)


def put_tree(root, version=""):
    validation = root / "validation"
    annotations = []
    for key in KEYS:
        put_picture(validation / "images" / f"{key}.jpg", SIZE)
        put_palette(validation / version / "labels" / f"{key}.png", drawn(key))
        put_ids(validation / version / "panoptic" / f"{key}.png", segments_of(key))
        segments = [
            {"id": int(id), "category_id": int(id) // 65536, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0}
            for id in np.unique(segments_of(key))
            if id
        ]
        annotations.append({"image_id": key, "file_name": f"{key}.png", "segments_info": segments})
    write(validation / version / "panoptic" / "panoptic_2018.json", annotations)


def write(path, annotations):
    images = [{"id": one["image_id"], "file_name": f"{one['image_id']}.jpg"} for one in annotations]
    categories = [{"id": id, "name": str(id), "isthing": 1} for id in range(1, 66)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


@pytest.mark.parametrize("version", ["", "v1.2"])
def test_both_versions(tmp_path, version):
    put_tree(tmp_path / "mapillary_vistas", version)
    for root in (tmp_path, tmp_path / "mapillary_vistas"):
        dataset = MapillaryVistas(root=root)
        assert isinstance(dataset, Dataset)
        assert dataset.keys == KEYS
        assert dataset.tasks == ("semantic", "panoptic")
        for index, key in enumerate(KEYS):
            truth = dataset.truth(index)
            labels = drawn(key).astype(int)
            np.testing.assert_array_equal(truth.semantic, np.where(labels == 65, -1, labels))
            np.testing.assert_array_equal(truth.panoptic.ids, segments_of(key))
            # The panoptic files count from 1, the label maps from 0: both must mean the same class.
            for segment in truth.panoptic.segments:
                assert set(truth.semantic[truth.panoptic.ids == segment.id]) == {segment.label}
            assert truth.instances is None


def test_without_panoptic_files(tmp_path):
    put_tree(tmp_path)
    (tmp_path / "validation" / "panoptic" / "panoptic_2018.json").unlink()
    dataset = MapillaryVistas(root=tmp_path)
    assert dataset.tasks == ("semantic",)
    assert dataset.truth(0).panoptic is None
    assert "so there is only semantic truth" in complaints(tmp_path)


def complaints(root):
    return "\n".join(MapillaryVistas(root=root).check())


def test_check_counts(tmp_path):
    put_tree(tmp_path)
    (line,) = MapillaryVistas(root=tmp_path).check()
    assert "has 2 pictures, its publisher's has 2000" in line


def test_values_beyond_void(tmp_path):
    put_tree(tmp_path)
    put_palette(tmp_path / "validation" / "labels" / f"{KEYS[0]}.png", np.full(SIZE, 66))
    assert "holds 66 in 540 pixels" in complaints(tmp_path)
    assert "allowed: 0..65" in complaints(tmp_path)


def test_categories_of_another_version(tmp_path):
    put_tree(tmp_path)
    segments = [{"id": 5, "category_id": 116, "iscrowd": 0}]
    lists = [{"image_id": key, "file_name": f"{key}.png", "segments_info": segments} for key in KEYS]
    write(tmp_path / "validation" / "panoptic" / "panoptic_2018.json", lists)
    assert "categories that are in the list of classes (KeyError: no 116)" in complaints(tmp_path)


def test_only_the_labels_of_version_2(tmp_path):
    put_tree(tmp_path, "v2.0")
    text = complaints(tmp_path)
    assert "looked for validation/labels" in text
    assert "validation/v1.2/labels" in text
