"""Truth from COCO's panoptic and instance files, for data sets whose pictures are found otherwise."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from ovseg.data.coco_json import (
    PanopticIndex,
    complaining,
    instances_from,
    read_instances_json,
    read_json,
    read_panoptic_json,
)
from ovseg.data.labels import read_panoptic_ids
from ovseg.data.panoptic import runs_of
from ovseg.errors import DataError
from ovseg.truth import PanopticTruth, TrueInstance

_AGAIN = "It is another split's or a part: get or make it again."


class COCOSegments:
    """A list of segments with its folder of maps.

    Args:
        path: of the JSON file.
        folder: of the maps.
        label_of: category id -> class index.
        suffix: what follows a picture's key in the names of the maps.
    """

    def __init__(
        self, *, path: Path, folder: Path, label_of: Mapping[int, int], suffix: str = ".png"
    ) -> None:
        self._path = path
        self._folder = folder
        self._label_of = label_of
        self._suffix = suffix

    def of(self, key: str) -> PanopticTruth:
        """The panoptic truth of a picture; a segment without pixels stays in the list, as one that is missed.

        Raises:
            DataError: the list does not know the picture, or its map has other segments.
        """
        if key not in self._positions:
            raise DataError(f"{self._path} does not know the picture {key}. {_AGAIN}")
        position = self._positions[key]
        with complaining(self._path, "categories that are in the list of classes"):
            segments = tuple(self._index.segments(position, self._label_of))
        path = self._folder / self._index.maps[position]
        ids = read_panoptic_ids(path)
        strangers = np.setdiff1d(runs_of(ids).values, [0, *(segment.id for segment in segments)])
        if len(strangers):
            raise DataError(
                f"{path} has the segment {strangers[0]}, which {self._path} does not list for it. One of "
                "them is of another version: get or make both again."
            )
        return PanopticTruth(ids, segments)

    @cached_property
    def _index(self) -> PanopticIndex:
        return read_panoptic_json(self._path)

    @cached_property
    def _positions(self) -> dict[str, int]:
        names = enumerate(self._index.maps)
        return {PurePosixPath(one).name.removesuffix(self._suffix): position for position, one in names}


class COCOInstances:
    """A file of instances.

    Args:
        path: of the JSON file.
        label_of: category id -> class index.
    """

    def __init__(self, *, path: Path, label_of: Mapping[int, int]) -> None:
        self._path = path
        self._label_of = label_of

    def of(self, key: str, size: tuple[int, int]) -> tuple[TrueInstance, ...]:
        """The instances of a picture of `size` (height, width).

        Raises:
            DataError: the file does not know the picture, or an instance is malformed.
        """
        if key not in self._texts:
            raise DataError(f"{self._path} does not know the picture {key}. {_AGAIN}")
        return instances_from(self._texts[key], size, self._label_of, self._path)

    @cached_property
    def _texts(self) -> dict[str, bytes]:
        """Key -> annotations; the file may number its pictures as it likes."""
        with complaining(self._path, "images with id and file_name"):
            ids = {Path(one["file_name"]).stem: one["id"] for one in read_json(self._path)["images"]}
        return dict(zip(ids, read_instances_json(self._path, list(ids.values())), strict=True))
