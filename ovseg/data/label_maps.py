"""Data sets of pictures and label maps, in whichever of the layouts that people have is there."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ovseg.data.base import BaseDataset, Item
from ovseg.data.labels import Table, read_labels
from ovseg.errors import AbsentDataError, DataError
from ovseg.image import Task
from ovseg.suggest import listed
from ovseg.truth import Truth
from ovseg.vocabulary import Vocabulary, load_vocabulary, vocabulary_info

Split = Literal["val", "train"]

LONG = {"train": "training", "val": "validation"}
"""What detectron2's layouts and ADE20K call the splits."""


@dataclass(frozen=True, eq=False)
class Layout:
    """One way to keep pictures and label maps on disk.

    In the paths, ``{split}`` is the split's name and ``{long}`` the one that `LONG` has for it.

    Attributes:
        places: folders that may hold it, relative to the data set's root; the first is that root itself.
        images, labels: folders of pictures and of label maps, relative to the place.
        image_suffix, label_suffix: what follows the key in a file's name.
        table: what the values of a label map mean.
        list_file: the keys of the split, one per line, relative to the place; None takes each label map.
    """

    places: tuple[str, ...]
    images: str
    labels: str
    table: Table
    image_suffix: str = ".jpg"
    label_suffix: str = ".png"
    list_file: str | None = None


def folder_in(root: Path, places: Sequence[str], content: str) -> Path | None:
    """The first of `places` below `root` in which a folder or file of that name is; None if there is none."""
    return next((root / place for place in places if (root / place / content).exists()), None)


def spelled(path: str, split: str) -> str:
    """A path of a `Layout` for one split."""
    return path.format(split=split, long=LONG.get(split, split))


def keys_in(folder: Path, suffix: str) -> list[str]:
    """The files of a folder that end so, without that ending, sorted."""
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(name[: -len(suffix)] for name in names if name.endswith(suffix))


def listed_keys(path: Path) -> list[str]:
    """The first word of each line of a list file of the publisher.

    Raises:
        DataError: it is not there or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}, the list of the split's pictures, cannot be read: {error}. Unpack it again from the "
            "publisher's archive."
        ) from error
    return [line.split()[0] for line in lines if line.strip()]


class LabelMaps(BaseDataset):
    """A data set with semantic truth, whose subclass names the layouts that it may lie in.

    Args:
        root: the folder that holds it, or one of the folders that its archives unpack to.
        split: ``val`` or ``train``.
    """

    list_name: str
    """The built-in vocabulary that the labels index."""
    hint = ""
    """What to do where no layout is there, before the advice to download; empty if that is all."""

    def __init__(self, *, root: Path, split: Split = "val") -> None:
        super().__init__(root=root, split=split)

    @property
    @abstractmethod
    def layouts(self) -> Sequence[Layout]:
        """The ways it may be kept; the first one that is there is read."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """See `ovseg.interfaces.Dataset`."""
        return ("semantic",)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """See `ovseg.interfaces.Dataset`; the names are the publisher's, where the list has them."""
        has_plain = "plain" in vocabulary_info(self.list_name).names
        return load_vocabulary(self.list_name, names="plain" if has_plain else None)

    @property
    def place(self) -> Path | None:
        """See `BaseDataset`."""
        return next((place for layout in self.layouts if (place := self._place(layout)) is not None), None)

    @cached_property
    def layout(self) -> Layout:
        """The one that is there.

        Raises:
            AbsentDataError: none of them is.
        """
        there = (layout for layout in self.layouts if self._place(layout) is not None)
        layout = next(there, None)
        if layout is None:
            raise AbsentDataError(self._no_labels(self.layouts))
        return layout

    @cached_property
    def layout_folder(self) -> Path | None:
        """The folder of the split's label maps; None if none of the layouts is there."""
        for layout in self.layouts:
            place = self._place(layout)
            if place is not None:
                return place / spelled(layout.labels, self.split)
        return None

    def items_of(self, layout: Layout) -> list[Item]:
        """The pictures of the split in one of the layouts.

        Raises:
            AbsentDataError: it is not there, or lacks the folder of pictures.
            DataError: its list of pictures cannot be read.
        """
        place = self._place(layout)
        if place is None:
            raise AbsentDataError(self._no_labels([layout]))
        images = place / spelled(layout.images, self.split)
        labels = place / spelled(layout.labels, self.split)
        if not images.is_dir():
            raise AbsentDataError(self._not_there(images))
        if layout.list_file is None:
            keys = keys_in(labels, layout.label_suffix)
        else:
            keys = listed_keys(place / spelled(layout.list_file, self.split))
        return [
            Item(key, images / f"{key}{layout.image_suffix}", (labels / f"{key}{layout.label_suffix}",))
            for key in keys
        ]

    def _place(self, layout: Layout) -> Path | None:
        return folder_in(self.root, layout.places, spelled(layout.labels, self.split))

    def _no_labels(self, layouts: Sequence[Layout]) -> str:
        looked = [
            f"{spelled(layout.labels, self.split)} (here or in {listed(layout.places[1:])})"
            for layout in layouts
        ]
        hint = f"{self.hint} " if self.hint else ""
        return (
            f"{self.root} has no label maps of the split '{self.split}': looked for {', '.join(looked)}. "
            f"{hint}{self._advice}"
        )

    def _find(self) -> list[Item]:
        return self.items_of(self.layout)

    def _read(self, index: int) -> Truth:
        semantic = read_labels(self.items[index].labels[0], self.layout.table)
        height, width = semantic.shape
        return Truth(image_size=(height, width), semantic=semantic)
