"""COCO-Stuff 164k: the pictures of COCO 2017 with 80 things and 91 kinds of stuff in one label map.

Caesar et al., CVPR 2018. Layouts that are read:
    pictures    {val,train}2017/*.jpg, or images/{val,train}2017 (mmsegmentation)
    originals   stuffthingmaps/{val,train}2017/*.png, or annotations/{val,train}2017/*.png, where
                mmsegmentation wants the same archive unpacked. A pixel is a COCO id less 1, 0..181; 255 is
                unlabelled; 11 of the ids were never used.
    prepared    annotations/{val,train}2017/*_labelTrainIds.png (mmsegmentation), annotations_detectron2/...
                or stuffthingmaps_detectron2/...: class indices 0..170, 255 unlabelled

Originals need no preparation: a table gives the class indices while a file is read. ``ovseg prepare`` makes
the files of mmsegmentation for other programs.
"""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL.Image

from ovseg.data.base import BaseDataset, Item
from ovseg.data.coco import PICTURES, Split, first_folder
from ovseg.data.info import DatasetInfo
from ovseg.data.labels import Table, label_table, read_labels, same_labels
from ovseg.data.preparation import Made, Preparation
from ovseg.errors import AbsentDataError
from ovseg.image import Task
from ovseg.truth import IGNORED, Truth
from ovseg.vocabulary import Vocabulary, load_vocabulary

SOURCE = "https://github.com/nightrome/cocostuff"
LICENCE = "https://github.com/nightrome/cocostuff#licensing"
UNLABELLED = 255

_ORIGINALS = ("stuffthingmaps/{}2017", "annotations/stuffthingmaps/{}2017", "annotations/{}2017")


@dataclass(frozen=True)
class Layout:
    """Where label files may be and what their values mean.

    Attributes:
        folder: relative to the root.
        ending: of the file names, behind the picture's stem.
        table: value in a file -> class index.
    """

    folder: str
    ending: str
    table: Table

    def stems(self, root: Path) -> list[str]:
        """The pictures that have such a file, sorted; stems are numbers, which tells kinds apart."""
        folder = root / self.folder
        names = os.listdir(folder) if folder.is_dir() else []
        found = (name[: -len(self.ending)] for name in names if name.endswith(self.ending))
        return sorted(stem for stem in found if stem.isdecimal())


def original_layouts(split: str, table: Table) -> tuple[Layout, ...]:
    """The places of the archive ``stuffthingmaps_trainval2017``."""
    return tuple(Layout(place.format(split), ".png", table) for place in _ORIGINALS)


class StuffMaps(BaseDataset):
    """A data set whose truth comes from COCO-Stuff's label maps.

    Args:
        root: the folder of COCO or of COCO-Stuff.
        split: ``val`` or ``train``.
    """

    prepared_ending: str
    """Of the files that mmsegmentation's converter makes."""

    def __init__(self, *, root: Path, split: Split = "val") -> None:
        super().__init__(root=root, split=split)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Semantic."""
        return ("semantic",)

    @property
    def original_table(self) -> Table:
        """Value in the original files -> class index."""
        raise NotImplementedError

    @property
    def prepared_table(self) -> Table:
        """Value in the prepared files -> class index."""
        return same_labels(len(self.vocabulary), ignored=(UNLABELLED,))

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Where labels are looked for, in this order."""
        prepared = Layout(f"annotations/{self.split}2017", self.prepared_ending, self.prepared_table)
        return (*original_layouts(self.split, self.original_table), prepared)

    @property
    def preparations(self) -> tuple[Preparation, ...]:
        """The files of mmsegmentation."""
        return (
            TrainIds(
                root=self.root, split=self.split, table=self.original_table, ending=self.prepared_ending
            ),
        )

    @cached_property
    def layout(self) -> Layout:
        """The first that is there.

        Raises:
            AbsentDataError: none is.
        """
        return _first(self.layouts, self.root)

    @property
    def place(self) -> Path | None:
        """See `BaseDataset`."""
        there = any(layout.stems(self.root) for layout in self.layouts)
        return self.root if there else None

    def _find(self) -> Sequence[Item]:
        places = [f"{self.split}2017", f"images/{self.split}2017"]
        images = first_folder(self.root, places, "https://cocodataset.org/#download")
        labels = self.root / self.layout.folder
        return [
            Item(key=stem, image=images / f"{stem}.jpg", labels=(labels / f"{stem}{self.layout.ending}",))
            for stem in self.layout.stems(self.root)
        ]

    def _read(self, index: int) -> Truth:
        labels = read_labels(self.items[index].labels[0], self.layout.table)
        return Truth((labels.shape[0], labels.shape[1]), semantic=labels)


class COCOStuff(StuffMaps):
    """COCO-Stuff, 171 classes: index by order of the ids that were used."""

    prepared_ending = "_labelTrainIds.png"

    @property
    def info(self) -> DatasetInfo:
        """See `BaseDataset`."""
        return DatasetInfo("COCO-Stuff 164k", SOURCE, LICENCE, PICTURES)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The 171 classes."""
        return load_vocabulary("coco_stuff", names="plain")

    @property
    def original_table(self) -> Table:
        """See `StuffMaps`."""
        classes = enumerate(self.vocabulary.classes)
        used = {entry.id - 1: index for index, entry in classes if entry.id is not None}
        return label_table(used, ignored=(UNLABELLED,))

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """See `StuffMaps`; also what detectron2's users have."""
        folders = ("annotations_detectron2/{}2017", "stuffthingmaps_detectron2/{}2017")
        made = (Layout(folder.format(self.split), ".png", self.prepared_table) for folder in folders)
        return (*super().layouts, *made)


class TrainIds(Preparation):
    """Label maps whose values are class indices, as mmsegmentation's converters make them.

    Args:
        root: the folder of COCO or of COCO-Stuff.
        split: ``val`` or ``train``.
        table: value in the original files -> class index.
        ending: of the new files' names.
    """

    def __init__(self, *, root: Path, split: str, table: Table, ending: str) -> None:
        kind = ending.removeprefix("_").removesuffix(".png")
        super().__init__(name=kind, what=f"{kind} of {split}", folder=root / f"annotations/{split}2017")
        self.root, self.split, self.table, self.ending = root, split, table, ending

    @cached_property
    def source(self) -> Layout:
        """The originals.

        Raises:
            AbsentDataError: they are not there.
        """
        return _first(original_layouts(self.split, self.table), self.root)

    def jobs(self) -> Sequence[str]:
        """See `Preparation`: a stem each."""
        return self.source.stems(self.root)

    def files(self, job: str) -> Sequence[str]:
        """See `Preparation`."""
        return (f"{job}{self.ending}",)

    def make(self, job: str) -> Made:
        """See `Preparation`."""
        labels = read_labels(self.root / self.source.folder / f"{job}.png", self.table)
        values = np.where(labels == IGNORED, UNLABELLED, labels).astype(np.uint8)
        buffer = io.BytesIO()
        PIL.Image.fromarray(values).save(buffer, "PNG")
        return Made({f"{job}{self.ending}": buffer.getvalue()})


def _first(layouts: Sequence[Layout], root: Path) -> Layout:
    for layout in layouts:
        if layout.stems(root):
            return layout
    raise AbsentDataError(
        f"{root} has none of these label files: {', '.join(_described(layouts))}. Download "
        f"stuffthingmaps_trainval2017.zip from {SOURCE} and unpack it into {root / 'stuffthingmaps'}, or "
        "correct dataset.root."
    )


def _described(layouts: Sequence[Layout]) -> Iterator[str]:
    return (f"{layout.folder}/*{layout.ending}" for layout in layouts)
