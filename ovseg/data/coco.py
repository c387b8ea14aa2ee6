"""COCO 2017 with its panoptic truth; the semantic view is made from that, instances are COCO's own.

Layouts that are read (root is the folder ``coco``):
    pictures            {val,train}2017/*.jpg, or images/{val,train}2017
    list of segments    annotations/panoptic_{val,train}2017.json
    maps                annotations/panoptic_{val,train}2017/*.png, as the archive unpacks, or
                        panoptic_{val,train}2017/*.png, as detectron2 and mmdetection want them
    instances           annotations/instances_{val,train}2017.json (polygons, stated areas, crowds)

Without the instances file the instances are the things of the panoptic map, which overlap nowhere and whose
area is the count of their pixels: average precision is then not the published metric.

The semantic view is FC-CLIP's and detectron2's: index in the list of 133, nothing where no segment is. Their
prepared ``panoptic_semseg_*`` hold the same and are not needed.

Reading the lists of val takes 1.4 seconds (panoptic 0.1, instances 1.3), 190 MB for that moment, and 20 MB
are kept. A data set that was read can be sent to workers in 0.03 seconds; those that fork share it.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from ovseg.data.base import BaseDataset, Item
from ovseg.data.coco_json import PanopticIndex, instances_from, read_instances_json, read_panoptic_json
from ovseg.data.info import DatasetInfo
from ovseg.data.labels import read_panoptic_ids
from ovseg.data.panoptic import instances_of, panoptic_truth, semantic_of
from ovseg.errors import AbsentDataError, DataError
from ovseg.image import Task
from ovseg.truth import PanopticTruth, Truth
from ovseg.vocabulary import Vocabulary, load_vocabulary

SOURCE = "https://cocodataset.org/#download"
LICENCE = "https://cocodataset.org/#termsofuse"
PICTURES = {"val": 5000, "train": 118287}

Split = Literal["val", "train"]


class COCOPanoptic(BaseDataset):
    """COCO 2017, 133 classes.

    Args:
        root: the folder ``coco``.
        split: ``val`` or ``train``.
    """

    def __init__(self, *, root: Path, split: Split = "val") -> None:
        super().__init__(root=root, split=split)

    @property
    def info(self) -> DatasetInfo:
        """See `BaseDataset`."""
        return DatasetInfo("COCO 2017 panoptic", SOURCE, LICENCE, PICTURES)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The 133 classes in the order of the panoptic JSON file."""
        return load_vocabulary("coco_panoptic", names="plain")

    @property
    def place(self) -> Path | None:
        """See `BaseDataset`."""
        return self.root if self.panoptic_file.is_file() else None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All three."""
        return ("semantic", "panoptic", "instance")

    @property
    def instances_file(self) -> Path:
        """COCO's own instances; may be absent."""
        return self.root / "annotations" / f"instances_{self.split}2017.json"

    @property
    def panoptic_file(self) -> Path:
        """The list of segments."""
        return self.root / "annotations" / f"panoptic_{self.split}2017.json"

    @cached_property
    def index(self) -> PanopticIndex:
        """The list of segments, read once.

        Raises:
            DataError: as `read_panoptic_json`, or a category is none of the 133.
        """
        if not self.panoptic_file.exists():
            raise AbsentDataError(self._not_there(self.panoptic_file))
        index = read_panoptic_json(self.panoptic_file)
        unknown = sorted(set(index.rows[:, 1].tolist()) - set(self._label_of))
        if unknown:
            raise DataError(
                f"{self.panoptic_file} uses category ids that COCO's panoptic list of 133 has not: "
                f"{', '.join(map(str, unknown[:5]))}. It is another data set's: for your own, use "
                "dataset=folder."
            )
        return index

    def _find(self) -> Sequence[Item]:
        images = first_folder(self.root, [f"{self.split}2017", f"images/{self.split}2017"], SOURCE)
        index = self.index
        maps = first_folder(
            self.root, [f"annotations/panoptic_{self.split}2017", f"panoptic_{self.split}2017"], SOURCE
        )
        return [
            Item(key=Path(image).stem, image=images / image, labels=(maps / png,))
            for image, png in zip(index.images, index.maps, strict=True)
        ]

    def panoptic_of(self, index: int) -> PanopticTruth:
        """The panoptic view of a picture alone, without reading or making the others.

        Raises:
            DataError: the map cannot be read, or it and its list do not agree.
        """
        path = self.items[index].labels[0]
        return panoptic_truth(read_panoptic_ids(path), self.index.segments(index, self._label_of), path)

    def told_apart(self) -> Bool[np.ndarray, " pictures"]:
        """Of each picture, whether one of its segments at least is no crowd; from the list alone."""
        return self.index.told_apart()

    def _read(self, index: int) -> Truth:
        panoptic = self.panoptic_of(index)
        size = (panoptic.ids.shape[0], panoptic.ids.shape[1])
        annotations = self._instances
        if annotations is None:
            instances = instances_of(panoptic, self._things)
        else:
            instances = instances_from(annotations[index], size, self._label_of, self.instances_file)
        return Truth(size, semantic_of(panoptic), panoptic, instances)

    @cached_property
    def _instances(self) -> tuple[bytes, ...] | None:
        if not self.instances_file.exists():
            return None
        return read_instances_json(self.instances_file, self.index.image_ids)

    @cached_property
    def _label_of(self) -> dict[int, int]:
        """Category id -> class index."""
        classes = enumerate(self.vocabulary.classes)
        return {entry.id: index for index, entry in classes if entry.id is not None}

    @cached_property
    def _things(self) -> frozenset[int]:
        return frozenset(index for index, entry in enumerate(self.vocabulary.classes) if entry.is_thing)


def first_folder(root: Path, places: Sequence[str], source: str) -> Path:
    """The first of several folders that is there.

    Raises:
        AbsentDataError: none is.
    """
    for place in places:
        if (root / place).is_dir():
            return root / place
    raise AbsentDataError(
        f"{root} has no folder {' or '.join(places)}. Unpack it there (from {source}), or correct "
        "dataset.root."
    )
