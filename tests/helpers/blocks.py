"""A small data set of coloured blocks that `FakeMethod` gets partly right."""

import json
import os
from pathlib import Path

import numpy as np
import PIL.Image

from helpers.dataset_files import put_ids, put_json
from helpers.fake_method import BLOCK

CLASSES = (("cat", True), ("dog", True), ("grass", False), ("sky", False))
GRID = (3, 4)


def write_blocks(root: Path, count: int) -> Path:
    """A data set in the panoptic folder format; gives the words that choose it.

    Each block's red is its true class, or in one of five a wrong one. Blocks of one class are one segment.
    """
    images, annotations = [], []
    for number in range(count):
        random = np.random.default_rng(number)
        truth = random.integers(0, len(CLASSES), GRID)
        shown = np.where(random.random(GRID) < 0.2, (truth + 1) % len(CLASSES), truth)
        pixels = np.zeros((*shown.shape, 3), np.uint8)
        pixels[..., 0] = shown + 4 * number
        path = root / "images" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(_large(pixels)).save(path)
        put_ids(root / "panoptic" / f"{number:03}.png", _large(truth + 1))
        images.append({"id": number, "file_name": path.name, "height": 48, "width": 64})
        segments = [
            {"id": int(label) + 1, "category_id": int(label), "area": BLOCK**2, "iscrowd": 0, "bbox": [0] * 4}
            for label in np.unique(truth)
        ]
        annotations.append({"image_id": number, "file_name": f"{number:03}.png", "segments_info": segments})
    categories = [
        {"id": label, "name": name, "isthing": int(thing)} for label, (name, thing) in enumerate(CLASSES)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    put_json(root / "panoptic.json", content)
    return root


def words(root: Path) -> list[str]:
    """What is typed to evaluate on it."""
    return [
        "dataset=folder",
        f"dataset.root={root}",
        "dataset.labels=null",
        "dataset.panoptic=panoptic.json",
        "dataset.classes=null",
    ]


def die(prediction: object, truth: object) -> None:
    """An evaluator that takes its process with it."""
    os._exit(3)


def without_times(folder: Path) -> str:
    """What a run says in `metrics.json`, apart from times and from commits that somebody makes meanwhile."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["time"], metrics["environment"]["git"]
    return json.dumps(metrics, indent=1)


def _large(blocks: np.ndarray) -> np.ndarray:
    return blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
