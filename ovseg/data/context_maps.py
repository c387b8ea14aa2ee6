"""Making the label maps of Pascal Context from what its publishers give.

``trainval_merged.json`` (PASCAL in Detail) has the split and, as run lengths, the regions of the 59 frequent
classes; ``trainval/*.mat`` have maps of all 459 classes, counted from 1.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16
from pycocotools import mask as coco_mask

from ovseg.data.detectron2_maps import Detectron2Maps, encode_labels, needed, picture_file
from ovseg.data.label_maps import listed_keys, spelled
from ovseg.data.labels import label_table, look_up
from ovseg.data.maps import ids
from ovseg.data.preparation import Made, Preparation
from ovseg.errors import AbsentDataError, DataError

FREQUENT_LABELS = "SegmentationClassContext"
FREQUENT_LIST = "ImageSets/SegmentationContext/{split}.txt"
"""Where mmsegmentation keeps the maps of 60 classes and the lists of pictures, in the folder of VOC 2010."""

INDEX = "trainval_merged.json"
"""The publisher's file of regions and splits, in the folder of VOC 2010."""
_GET = (
    "Get it from the page of PASCAL in Detail or by the links in mmsegmentation's guide to data sets, and "
    "put it there."
)


class ContextIndex:
    """``trainval_merged.json``: which picture is in which split, and the regions of each.

    Args:
        path: of the file.
        split: ``val`` or ``train``.
    """

    def __init__(self, *, path: Path, split: str) -> None:
        self._path = path
        self._split = split

    @cached_property
    def images(self) -> Mapping[str, Mapping[str, Any]]:
        """Key -> what the file says of the picture, in the file's order.

        Raises:
            AbsentDataError: the file is not there.
            DataError: it has another form.
        """
        found = {
            Path(image["file_name"]).stem: image for image in self._entries("images", "file_name", "phase")
        }
        return {key: image for key, image in found.items() if image["phase"] == self._split}

    @cached_property
    def regions(self) -> Mapping[Any, Sequence[Mapping[str, Any]]]:
        """Picture's id -> its regions, in the file's order."""
        found = defaultdict(list)
        for region in self._entries("annos_segmentation", "image_id", "category_id", "segmentation"):
            found[region["image_id"]].append(region)
        return found

    def labels(self, key: str) -> Int16[np.ndarray, "h w"]:
        """The 60-class map of a picture: the regions painted in their order, 0 where there is none.

        Raises:
            DataError: a region is of another class or size.
        """
        image = self.images[key]
        values = np.zeros((image["height"], image["width"]), np.uint16)
        for region in self.regions.get(image["image_id"], ()):
            mask = _decoded(region["segmentation"], values.shape)
            if mask is None:
                raise DataError(
                    f"{self._path}: a region of the picture {key} is no run-length mask of its size. {_GET}"
                )
            values[mask] = region["category_id"]
        return look_up(values, _FREQUENT, self._path)

    def _entries(self, table: str, *keys: str) -> Sequence[Mapping[str, Any]]:
        entries = self._content.get(table)
        if not isinstance(entries, list) or not all(key in entry for entry in entries for key in keys):
            raise DataError(
                f"{self._path} has no list '{table}' whose entries have {', '.join(keys)}. {_GET}"
            )
        return entries

    @cached_property
    def _content(self) -> Mapping[str, Any]:
        if not self._path.exists():
            raise AbsentDataError(
                f"{self._path} is not there: it says which pictures are in which split. {_GET}"
            )
        try:
            content = json.loads(self._path.read_bytes())
        except ValueError as error:
            raise DataError(f"{self._path} is damaged: {error}. {_GET}") from error
        return content if isinstance(content, dict) else {}


class FrequentClasses(Preparation):
    """mmsegmentation's maps of 60 classes and its list of pictures.

    Args:
        folder: of VOC 2010.
        split: ``val`` or ``train``.
    """

    def __init__(self, *, folder: Path, split: str) -> None:
        super().__init__(
            name=f"context60-{split}", what="Pascal Context with background and 59 classes", folder=folder
        )
        self._index = ContextIndex(path=folder / INDEX, split=split)
        self._list = spelled(FREQUENT_LIST, split)

    def jobs(self) -> Sequence[str]:
        """See `Preparation`."""
        return list(self._index.images)

    def files(self, job: str) -> Sequence[str]:
        """See `Preparation`."""
        return (f"{FREQUENT_LABELS}/{job}.png",)

    def make(self, job: str) -> Made:
        """See `Preparation`."""
        return Made({self.files(job)[0]: encode_labels(self._index.labels(job), void=255)}, record=job)

    def finish(self, records: Sequence[Any]) -> Mapping[str, bytes]:
        """See `Preparation`."""
        return {self._list: "".join(f"{key}\n" for key in records).encode()}


class AllClasses(Detectron2Maps):
    """detectron2's maps of 459 classes.

    Args:
        folder: that they go to, ``pascal_ctx_d2``.
        originals: the folder of VOC 2010.
        split: ``val`` or ``train``.
    """

    def __init__(self, *, folder: Path, originals: Path, split: str) -> None:
        super().__init__(
            what="Pascal Context with 459 classes",
            folder=folder,
            labels="annotations_ctx459",
            split=split,
            void=65535,
        )
        self._originals = originals
        self._split = split

    def jobs(self) -> Sequence[str]:
        """See `Preparation`."""
        listed = self._originals / spelled(FREQUENT_LIST, self._split)
        if listed.exists():
            return listed_keys(listed)
        return list(ContextIndex(path=self._originals / INDEX, split=self._split).images)

    def pair(self, job: str) -> tuple[bytes, Int16[np.ndarray, "h w"]]:
        """See `Detectron2Maps`."""
        labels = read_matlab_labels(self._originals / "trainval" / f"{job}.mat")
        return picture_file(self._originals / "JPEGImages" / f"{job}.jpg"), labels


def read_matlab_labels(path: Path) -> Int16[np.ndarray, "h w"]:
    """The 459-class map of one of the publisher's MATLAB files; 0 there is no class.

    Raises:
        AbsentDataError: it is not there.
        DataError: it is damaged or has no such map.
        ConfigError: scipy, which reads them, is not installed.
    """
    loadmat = needed("scipy.io", "scipy", "Reading MATLAB files").loadmat
    get = "Unpack trainval.tar.gz of Pascal Context into VOCdevkit/VOC2010 again."
    if not path.exists():
        raise AbsentDataError(f"{path} is not there. {get}")
    try:
        values = loadmat(path)["LabelMap"]
    # scipy raises nearly anything for a damaged file: ValueError, TypeError, zlib.error, KeyError ...
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is no MATLAB file with a LabelMap: {reason}. {get}") from error
    if values.ndim != 2 or values.size == 0 or values.min() < 0 or values.max() > 459:
        raise DataError(f"{path} has no map of the ids 0..459 (shape {values.shape}). {get}")
    return look_up(values.astype(np.uint16), _ALL, path)


def _decoded(segmentation: object, size: tuple[int, ...]) -> np.ndarray | None:
    """COCO's run lengths, compressed or not, as a mask; None if they are none of this size."""
    if not isinstance(segmentation, dict) or tuple(segmentation.get("size", ())) != tuple(size):
        return None
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        segmentation = coco_mask.frPyObjects(segmentation, *size)
    elif not isinstance(counts, str):
        return None
    mask: np.ndarray = coco_mask.decode(segmentation).astype(bool)
    return mask


_FREQUENT = label_table({value: index for index, value in enumerate(ids("pascal_context_60"))}, bits=16)
_ALL = label_table({index + 1: index for index in range(459)}, ignored=(0,), bits=16)
