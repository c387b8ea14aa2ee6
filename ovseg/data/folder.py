"""Pictures and labels of your own: nothing to program, only folders.

    my_data/
      classes.txt                 one class per line: dog|puppy, stuff:grass; or .json, .yaml
      images/a.jpg, b/c.png ...   any depth; a picture's key is its path without the suffix: a, b/c
      labels/a.png, b/c.png ...   index maps of 8 or 16 bits: the first class is 0, 255 is unlabelled

    ovseg evaluate model=fcclip dataset=folder dataset.root=my_data

With ``panoptic: panoptic.json`` the truth is in COCO's panoptic format instead: a JSON file with ``images``,
``annotations`` (``segments_info``) and ``categories``, and a folder of the same stem with the PNG maps. It
gives all three views. Categories are the classes of the same name; without a class list they are the classes.

A split is a sub-folder (``images/val/...``, ``labels/val/...``) or a list of keys (``val.txt``), a line each.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ovseg.data.base import BaseDataset, Item
from ovseg.data.coco_json import PanopticIndex, read_panoptic_json
from ovseg.data.find import SUFFIXES
from ovseg.data.folder_classes import classes_of, labels_of
from ovseg.data.info import DatasetInfo
from ovseg.data.labels import label_table, read_labels, read_panoptic_ids
from ovseg.data.panoptic import instances_of, panoptic_truth, semantic_of
from ovseg.errors import ConfigError, DataError
from ovseg.image import Task
from ovseg.truth import PanopticTruth, Truth
from ovseg.vocabulary import Vocabulary

LABEL_SUFFIXES = (".png", ".tif", ".tiff")


class FolderDataset(BaseDataset):
    """Pictures and index maps, or a COCO panoptic JSON file, in folders of your own.

    Args:
        root: the folder that all other paths are relative to.
        split: a sub-folder of `images` and `labels`, or a list ``<split>.txt`` of keys; empty for all.
        images: the folder of pictures.
        labels: the folder of index maps, of the pictures' names; None if the truth is panoptic.
        label_ending: what a map's name has behind the picture's, before the suffix: ``_labels``.
        first_label: value in a map of the first class; 1 where 0 means unlabelled.
        ignored: values in a map that mean unlabelled, as far as they are no class.
        panoptic: a COCO panoptic JSON file; None if the truth is index maps.
        panoptic_maps: the folder of its maps; None: of the JSON file's name without suffix.
        classes: a file of classes or a built-in list; None: the categories of the JSON file.

    Raises:
        ConfigError: both or none of `labels` and `panoptic` is given, or index maps without `classes`.
    """

    def __init__(
        self,
        *,
        root: Path,
        split: str = "",
        images: Path = Path("images"),
        labels: Path | None = Path("labels"),
        label_ending: str = "",
        first_label: int = 0,
        ignored: tuple[int, ...] = (255,),
        panoptic: Path | None = None,
        panoptic_maps: Path | None = None,
        classes: str | None = "classes.txt",
    ) -> None:
        super().__init__(root=root, split=split)
        if (labels is None) == (panoptic is None):
            both = "both are given" if labels is not None else "none is given"
            raise ConfigError(
                f"dataset.labels={labels}, dataset.panoptic={panoptic}: {both}. Give the folder of index "
                "maps, or dataset.labels=null and the JSON file of a panoptic truth."
            )
        if panoptic is None and classes is None:
            raise ConfigError(
                "dataset.classes=null: index maps name no classes. Give a file or a built-in list."
            )
        self.images = self.root / images
        self.labels = None if labels is None else self.root / labels
        self.panoptic = None if panoptic is None else self.root / panoptic
        self.panoptic_maps = panoptic_maps
        self.label_ending = label_ending
        self.first_label = first_label
        self.ignored = ignored
        self.classes = classes

    @property
    def info(self) -> DatasetInfo:
        """Nothing is known of it before it is read."""
        return DatasetInfo("your own pictures and labels", "-", "-", {})

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The classes of the file, of the built-in list or of the JSON file.

        Raises:
            DataError, VocabularyError: the file of classes or the JSON file cannot be read.
        """
        return classes_of(self.classes, self.root, self._index.categories if self.panoptic else ())

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Semantic, or all three from a panoptic truth."""
        return ("semantic",) if self.panoptic is None else ("semantic", "panoptic", "instance")

    @cached_property
    def _index(self) -> PanopticIndex:
        assert self.panoptic is not None
        return read_panoptic_json(self.panoptic)

    @cached_property
    def _label_of(self) -> Mapping[int, int]:
        """Category id -> class index."""
        assert self.panoptic is not None
        return labels_of(self._index.categories, self.vocabulary, self.panoptic)

    def _find(self) -> Sequence[Item]:
        if not self.images.is_dir():
            raise DataError(f"{self.images} is no folder. Give the folder of pictures: dataset.images=DIR.")
        chosen = self._chosen()
        items = self._panoptic_items() if self.panoptic is not None else self._labelled_items()
        if chosen is None:
            return items
        of_key = {item.key: item for item in items}
        unknown = [key for key in chosen if key not in of_key]
        if unknown:
            raise DataError(
                f"{self._list} names {len(unknown)} of {len(chosen)} pictures that {self.images} has not "
                f"(the first: {unknown[0]}). A line is the path below that folder; its suffix is optional."
            )
        return [of_key[key] for key in chosen]

    @property
    def _advice(self) -> str:
        return "Give the folder that holds your pictures and their labels: dataset.root=DIR."

    @property
    def _list(self) -> Path:
        return self.root / f"{self.split}.txt"

    def _chosen(self) -> list[str] | None:
        """The keys of the split's list; None where the split is a sub-folder or everything.

        Raises:
            DataError: there is neither a list nor a sub-folder.
        """
        if not self.split or (self.images / self.split).is_dir():
            return None
        if not self._list.is_file():
            raise DataError(
                f"dataset.split={self.split}: there is neither the folder {self.images / self.split} nor the "
                f"list {self._list}. Make one of them, or leave the split out for all pictures."
            )
        lines = (line.strip() for line in self._list.read_text(encoding="utf-8-sig").splitlines())
        keys = [line for line in lines if line and not line.startswith("#")]
        return list(dict.fromkeys(_without_suffix(key) for key in keys))

    def _below(self, folder: Path) -> Path:
        """The split's part of a folder, where the split is a sub-folder of the pictures."""
        return folder / self.split if (self.images / self.split).is_dir() else folder

    def _labelled_items(self) -> list[Item]:
        assert self.labels is not None
        if not self.labels.is_dir():
            raise DataError(
                f"{self.labels} is no folder. Give the folder of index maps: dataset.labels=DIR, or "
                "dataset.labels=null dataset.panoptic=FILE for COCO's panoptic format."
            )
        maps = dict(_keyed(self._below(self.labels), LABEL_SUFFIXES))
        items = []
        for key, image in _keyed(self._below(self.images), SUFFIXES):
            named = f"{key}{self.label_ending}"
            absent = self._below(self.labels) / f"{named}.png"
            items.append(Item(key, image, (maps.get(named, absent),)))
        return items

    def _panoptic_items(self) -> list[Item]:
        assert self.panoptic is not None
        maps = self.root / self.panoptic_maps if self.panoptic_maps else self.panoptic.with_suffix("")
        images = self._below(self.images)
        named = zip(self._index.images, self._index.maps, strict=True)
        return [Item(_without_suffix(image), images / image, (maps / png,)) for image, png in named]

    def panoptic_of(self, index: int) -> PanopticTruth:
        """The panoptic view of a picture alone; only where the truth is panoptic.

        Raises:
            DataError: the map cannot be read, or it and its list do not agree.
        """
        path = self.items[index].labels[0]
        segments = self._index.segments(self._row_of[self.items[index].key], self._label_of)
        return panoptic_truth(read_panoptic_ids(path), segments, path)

    def told_apart(self) -> Bool[np.ndarray, " pictures"]:
        """Of each picture, whether one of its segments at least is no crowd; as `panoptic_of`."""
        found: np.ndarray = self._index.told_apart()[[self._row_of[item.key] for item in self.items]]
        return found

    def _read(self, index: int) -> Truth:
        path = self.items[index].labels[0]
        if self.panoptic is None:
            values = {self.first_label + label: label for label in range(len(self.vocabulary))}
            ignored = [value for value in self.ignored if value not in values]
            unlabelled = [*ignored, *range(self.first_label)]
            labels = read_labels(path, label_table(values, ignored=unlabelled, bits=16))
            return Truth((labels.shape[0], labels.shape[1]), semantic=labels)
        truth = self.panoptic_of(index)
        things = {label for label, entry in enumerate(self.vocabulary.classes) if entry.is_thing}
        size = (truth.ids.shape[0], truth.ids.shape[1])
        return Truth(size, semantic_of(truth), truth, instances_of(truth, things))

    @cached_property
    def _row_of(self) -> Mapping[str, int]:
        """Key of a picture -> its row in the JSON file."""
        return {_without_suffix(image): row for row, image in enumerate(self._index.images)}


def _keyed(folder: Path, suffixes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """(path below the folder without suffix, path) of its files, sorted; hidden ones left out.

    Raises:
        DataError: two files have one key.
    """
    first: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() not in suffixes or hidden or path.is_dir():
            continue
        key = relative.with_suffix("").as_posix()
        if key in first:
            raise DataError(
                f"{first[key]} and {path} have one name. Rename one: labels are found by the name."
            )
        first[key] = path
    yield from first.items()


def _without_suffix(name: str) -> str:
    path = Path(name)
    return (path.with_suffix("") if path.suffix.lower() in (*SUFFIXES, *LABEL_SUFFIXES) else path).as_posix()
