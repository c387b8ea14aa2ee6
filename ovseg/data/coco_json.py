"""COCO's JSON files, read once and kept small: what one picture needs, by the order of the pictures.

The files hold a whole split. As Python objects they would take many times their size in every worker, so only
numbers in arrays and the text of each picture's polygons are kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, Int64
from pycocotools import mask as coco_mask

from ovseg.errors import DataError
from ovseg.truth import RunLengths, TrueInstance, TrueSegment


@dataclass(frozen=True)
class Category:
    """A class as a JSON file lists it."""

    id: int
    title: str
    is_thing: bool


@dataclass(frozen=True)
class PanopticIndex:
    """A panoptic JSON file.

    Attributes:
        images: file name of each picture.
        maps: file name of each picture's map.
        image_ids: of each picture, as other JSON files name it.
        starts: of each picture's rows in `rows`, and the end.
        rows: (segment id, category id, 1 for a crowd) of all segments.
        categories: in the order of the file.
    """

    images: tuple[str, ...]
    maps: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    starts: Int64[np.ndarray, " pictures_and_1"]
    rows: Int32[np.ndarray, "segments 3"]
    categories: tuple[Category, ...]

    def segments(self, index: int, label_of: Mapping[int, int]) -> list[TrueSegment]:
        """The segments of a picture; `label_of` brings category ids to class indices."""
        rows = self.rows[self.starts[index] : self.starts[index + 1]].tolist()
        return [TrueSegment(id, label_of[category], bool(crowd)) for id, category, crowd in rows]

    def told_apart(self) -> Bool[np.ndarray, " pictures"]:
        """Of each picture, whether one of its segments at least is no crowd."""
        counted = np.concatenate([[0], np.cumsum(self.rows[:, 2] == 0)])[self.starts]
        found: np.ndarray = counted[1:] > counted[:-1]
        return found


def read_panoptic_json(path: Path) -> PanopticIndex:
    """Read the list of segments of a split.

    Raises:
        DataError: the file is missing, no JSON, or not as COCO writes it.
    """
    content = read_json(path)
    with complaining(path, "images, annotations with segments_info, and categories"):
        file_of = {image["id"]: image["file_name"] for image in content["images"]}
        annotations = content["annotations"]
        counts = [len(annotation["segments_info"]) for annotation in annotations]
        numbers = np.fromiter(_segment_numbers(annotations), np.int64, count=3 * sum(counts))
        return PanopticIndex(
            images=tuple(file_of[annotation["image_id"]] for annotation in annotations),
            maps=tuple(annotation["file_name"] for annotation in annotations),
            image_ids=tuple(annotation["image_id"] for annotation in annotations),
            starts=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            rows=numbers.astype(np.int32).reshape(-1, 3),
            categories=tuple(
                Category(one["id"], str(one["name"]), bool(one.get("isthing", 1)))
                for one in content["categories"]
            ),
        )


def _segment_numbers(annotations: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    for annotation in annotations:
        for segment in annotation["segments_info"]:
            yield segment["id"]
            yield segment["category_id"]
            yield segment.get("iscrowd", 0)


def read_instances_json(path: Path, image_ids: Sequence[int | str]) -> tuple[bytes, ...]:
    """The instance annotations of pictures, as JSON text for `instances_from`.

    Args:
        path: of a file such as ``instances_val2017.json``.
        image_ids: of the pictures that are wanted, in order.

    Raises:
        DataError: the file cannot be read, is not as COCO writes it, or does not know one of the pictures.
    """
    content = read_json(path)
    with complaining(path, "images, annotations with segmentation, and categories"):
        known = {image["id"] for image in content["images"]}
        of_image: dict[int | str, list[Any]] = {}
        for one in content["annotations"]:
            kept = [one["category_id"], one["segmentation"], one["area"], one.get("iscrowd", 0)]
            of_image.setdefault(one["image_id"], []).append(kept)
    unknown = [id for id in image_ids if id not in known]
    if unknown:
        raise DataError(
            f"{path} does not know {len(unknown)} of {len(image_ids)} pictures (the first: {unknown[0]}). It "
            "is another split's, or only a part: get it again."
        )
    return tuple(json.dumps(of_image.get(id, [])).encode() for id in image_ids)


def instances_from(
    text: bytes, size: tuple[int, int], label_of: Mapping[int, int], path: Path
) -> tuple[TrueInstance, ...]:
    """The instances of a picture.

    Args:
        text: of the picture, from `read_instances_json`.
        size: (height, width) of the picture, in which polygons are filled as pycocotools does.
        label_of: category id -> class index.
        path: of the JSON file, for the message.

    Raises:
        DataError: a category is not in the list, or a mask is malformed.
    """
    with complaining(path, "polygons or run lengths, and categories that are in the list"):
        return tuple(
            TrueInstance(_mask(shape, size), label_of[category], float(area), is_crowd=bool(crowd))
            for category, shape, area, crowd in json.loads(text)
        )


def _mask(shape: Any, size: tuple[int, int]) -> RunLengths:  # noqa: ANN401
    """Polygons, run lengths or compressed run lengths as the last."""
    encoded: RunLengths
    if isinstance(shape, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(shape, *size))
    elif isinstance(shape["counts"], list):
        encoded = coco_mask.frPyObjects(shape, *size)
    else:
        encoded = {"size": list(shape["size"]), "counts": shape["counts"].encode()}
    return encoded


def read_json(path: Path) -> Any:  # noqa: ANN401
    """What a JSON file holds.

    Raises:
        DataError: it is missing, cannot be opened or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is not there. Unpack the annotations, or correct dataset.root.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}. Check its permissions.") from error
    except ValueError as error:  # also of bytes that are no text
        raise DataError(
            f"{path} is no whole JSON file ({error}). Its download or unpacking broke off: get it again."
        ) from error


@contextmanager
def complaining(path: Path, wanted: str) -> Iterator[None]:
    """Whatever goes wrong while JSON is taken apart, as an error that says what it should hold.

    Raises:
        DataError: instead of a missing key, a wrong type or a wrong value.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        cause = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not as COCO writes it: it must hold {wanted} ({type(error).__name__}: {cause}). "
            "Get it again, or name the right file."
        ) from error
