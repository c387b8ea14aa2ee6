import numpy as np
import pytest
from helpers.label_files import noise
from pycocotools import mask as coco_mask

from ovseg.data.run_lengths import masks_of


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (33, 50), (64, 20)])
@pytest.mark.parametrize("values", [[0], [5], [0, 1], [3, 70000, 0, 12], [2, 1]])
def test_equal_to_one_mask_at_a_time(size, values):
    ids = noise(sum(size) + sum(values), size, values).astype(np.int32)
    masks = masks_of(ids)
    assert list(masks) == sorted(set(np.unique(ids).tolist()) - {0})
    for value, mask in masks.items():
        assert mask == coco_mask.encode(np.asfortranarray(ids == value, dtype=np.uint8))
        np.testing.assert_array_equal(coco_mask.decode(mask), ids == value)


def test_single_pixels_in_the_corners():
    ids = np.zeros((4, 3), np.int32)
    ids[0, 0] = ids[3, 2] = 9
    assert masks_of(ids)[9] == coco_mask.encode(np.asfortranarray(ids == 9, dtype=np.uint8))


def test_an_empty_map_has_none():
    assert masks_of(np.zeros((0, 0), np.int32)) == {}
