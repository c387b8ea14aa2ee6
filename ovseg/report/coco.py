"""Predictions in COCO's formats (https://cocodataset.org/#format-data and #format-results)."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from ovseg.report.files import write_chunks
from ovseg.types import Instances, Panoptic
from ovseg.vocabulary import Vocabulary

Json = dict[str, Any]


def category_ids(vocabulary: Vocabulary) -> list[int]:
    """The `category_id` of each class: the vocabulary's ids if every class has its own, else the indices."""
    ids = [entry.id for entry in vocabulary.classes]
    given = [value for value in ids if value is not None]
    return given if len(set(given)) == len(ids) else list(range(len(ids)))


def categories(vocabulary: Vocabulary) -> list[Json]:
    """COCO's category list, in the order of the vocabulary."""
    return [
        {"id": value, "name": entry.name, "synonyms": list(entry.names), "isthing": int(entry.is_thing)}
        for value, entry in zip(category_ids(vocabulary), vocabulary.classes, strict=True)
    ]


def segments_info(panoptic: Panoptic, vocabulary: Vocabulary) -> list[Json]:
    """COCO's description of the segments of a panoptic PNG, plus a `score` where the method gives one.

    Areas and boxes are measured on the map; a segment without a pixel is left out.
    """
    ids = category_ids(vocabulary)
    boxes = _boxes(panoptic.ids.numpy())
    infos = []
    for segment in panoptic.segments:
        if segment.id not in boxes:
            continue
        area, box = boxes[segment.id]
        info: Json = {
            "id": segment.id,
            "category_id": ids[segment.label],
            "area": area,
            "bbox": box,
            "iscrowd": 0,
        }
        if segment.score is not None:
            info["score"] = segment.score
        infos.append(info)
    return infos


def instance_annotations(instances: Instances, vocabulary: Vocabulary) -> list[Json]:
    """COCO results without `image_id`: category, score, compressed RLE, box [x, y, width, height], area.

    Order as given; an instance without a pixel is left out.
    """
    ids = category_ids(vocabulary)
    annotations = []
    for mask, label, score in zip(
        instances.masks.numpy(), instances.labels.tolist(), instances.scores.tolist(), strict=True
    ):
        code = rle.encode(np.asfortranarray(mask, np.uint8))
        area = int(rle.area(code))
        if area:
            annotations.append(
                {
                    "category_id": ids[label],
                    "score": score,
                    "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode("ascii")},
                    "bbox": rle.toBbox(code).tolist(),
                    "area": area,
                }
            )
    return annotations


def image_ids(stems: Sequence[str]) -> list[int]:
    """An `image_id` per picture: COCO's own where every name is a number of its own, else 1, 2, 3, ..."""
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdecimal()]
    return numbers if len(set(numbers)) == len(stems) else list(range(1, len(stems) + 1))


def write_coco(
    path: Path, vocabulary: Vocabulary, images: Sequence[Json], annotations: Iterable[Json]
) -> None:
    """Write a COCO file in one step; `annotations` are taken one by one, so they need not fit into memory.

    Raises:
        OutputError: the file cannot be written.
    """

    def chunks() -> Iterator[bytes]:
        head = {"images": list(images), "categories": categories(vocabulary)}
        yield json.dumps(head)[:-1].encode() + b', "annotations": ['
        for index, annotation in enumerate(annotations):
            yield (b",\n" if index else b"\n") + json.dumps(annotation, allow_nan=False).encode()
        yield b"\n]}\n"

    write_chunks(path, chunks())


def _boxes(ids: np.ndarray) -> dict[int, tuple[int, list[int]]]:
    """Per id its area and its box [x, y, width, height] in whole pixels, found in one sort of the map."""
    values, inverse = np.unique(ids, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(inverse.ravel()))
    result = {}
    for value, pixels in zip(values.tolist(), np.split(order, ends[:-1]), strict=True):
        rows, columns = np.divmod(pixels, ids.shape[1])
        top, left = int(rows[0]), int(columns.min())  # a stable sort keeps the rows in order
        box = [left, top, int(columns.max()) - left + 1, int(rows[-1]) - top + 1]
        result[value] = (len(pixels), box)
    return result
