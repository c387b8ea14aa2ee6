"""A small COCO on disk to train on, and data sets that exist in memory only."""

import os
from pathlib import Path

import numpy as np

from helpers.dataset_files import put_ids, put_json, put_picture
from ovseg.data.coco import COCOPanoptic
from ovseg.vocabulary import ClassEntry, Vocabulary

COCO_MINI = (
    Path(os.environ.get("OVSEG_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "coco_mini"
)
PERSON, CAR, SKY = 1, 3, 187
"""Category ids; their places in the list of 133 are 0, 2 and 119."""


def ids_of(number: int, size: tuple[int, int]) -> np.ndarray:
    """Sky above (a large id), a person below (a small one), a car's first pixel, a void column."""
    ids = np.full(size, 9_000_000 + number, np.int32)
    ids[size[0] // 2 :] = 7 + number
    ids[0, 0] = 300
    ids[:, -1] = 0
    return ids


def put_coco(root: Path, *, pictures: int = 7, crowds=(), empty=()) -> Path:
    """COCO's layout; pictures of several sizes.

    Args:
        root: the folder ``coco``.
        pictures: how many.
        crowds: pictures all of whose segments are crowds.
        empty: pictures without segments.
    """
    images, annotations = [], []
    for number in range(pictures):
        size, name = (20 + 3 * number, 40 - 2 * number), f"{number:012}"
        ids = ids_of(number, size) * (number not in empty)
        rows = [(9_000_000 + number, SKY), (7 + number, PERSON), (300, CAR)] * (number not in empty)
        put_picture(root / "val2017" / f"{name}.jpg", size, seed=number)
        put_ids(root / "annotations" / "panoptic_val2017" / f"{name}.png", ids)
        images.append({"id": number, "file_name": f"{name}.jpg"})
        segments = [
            {"id": id, "category_id": category, "iscrowd": int(number in crowds)} for id, category in rows
        ]
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    content = {"images": images, "annotations": annotations, "categories": []}
    put_json(root / "annotations" / "panoptic_val2017.json", content)
    return root


def small_coco(root: Path, **given) -> COCOPanoptic:
    return COCOPanoptic(root=put_coco(root, **given))


class GivenDataset:
    """Truths as they are given, every picture black; `panoptic_of` is not offered."""

    def __init__(self, truths, tasks=("panoptic",), classes=("dog", "cat")):
        self.truths, self.tasks = truths, tasks
        self.keys = [f"given_{number}" for number in range(len(truths))]
        self.vocabulary = Vocabulary("two", tuple(ClassEntry((name,)) for name in classes))

    def image(self, index):
        return np.zeros((*self.truths[index].image_size, 3), np.uint8)

    def truth(self, index):
        return self.truths[index]

    def check(self):
        return []
