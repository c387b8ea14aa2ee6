"""The full ADE20K with the 847 classes that training and validation pictures share.

Cheng et al., NeurIPS 2021 (MaskFormer). Pictures and labels are shrunk to a short side of 512 pixels
before anything else, and that is the size of evaluation. They are read as MaskFormer's script makes them
(root is the folder ``ADE20K_2021_17_01``): ``images_detectron2`` and ``annotations_detectron2``, each with
``training`` and ``validation``; ``ovseg prepare`` makes them from the publisher's ``images/ADE``.
"""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8, UInt16

from ovseg.data.detectron2_maps import Detectron2Maps, needed
from ovseg.data.images import opened
from ovseg.data.info import DatasetInfo
from ovseg.data.label_maps import LONG, LabelMaps, Layout, folder_in
from ovseg.data.labels import Table, label_table, look_up, same_labels
from ovseg.errors import AbsentDataError, DataError
from ovseg.image import Image
from ovseg.truth import IGNORED
from ovseg.vocabulary import Vocabulary

SHORT_SIDE = 512
_PLACES = ("", "ade/ADE20K_2021_17_01", "ADE20K_2021_17_01")
_ORIGINALS = "images/ADE"
_SEGMENTS = "_seg.png"
_BITS = 16
_VOID = 65535


class ADE20KFull(LabelMaps):
    """ADE20K, 847 classes. Arguments as `LabelMaps`."""

    info = DatasetInfo(
        "the full ADE20K, 847 classes",
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/",
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/",
        {"train": 25574, "val": 2000},
    )
    list_name = "ade20k_847"
    hint = "From the publisher's images/ADE 'ovseg prepare ade20k_847' makes them."

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """detectron2's."""
        return (
            Layout(
                places=_PLACES,
                images="images_detectron2/{long}",
                labels="annotations_detectron2/{long}",
                table=same_labels(len(self.vocabulary), ignored=(_VOID,), bits=_BITS),
                label_suffix=".tif",
            ),
        )

    @property
    def place(self) -> Path | None:
        """See `BaseDataset`; the publisher's folder before it is prepared."""
        return super().place or folder_in(self.root, _PLACES, _ORIGINALS)

    @property
    def preparations(self) -> tuple[Detectron2Maps, ...]:
        """Shrunk pictures and labels."""
        folder = folder_in(self.root, _PLACES, _ORIGINALS) or self.root
        return (ShrunkMaps(folder=folder, split=self.split, vocabulary=self.vocabulary),)


class ShrunkMaps(Detectron2Maps):
    """Pictures and labels at a short side of at most `SHORT_SIDE`.

    Args:
        folder: ``ADE20K_2021_17_01``, with the publisher's ``images/ADE``.
        split: ``val`` or ``train``.
        vocabulary: its ids are those of the full data set.
    """

    def __init__(self, *, folder: Path, split: str, vocabulary: Vocabulary) -> None:
        super().__init__(
            what="ADE20K with 847 classes, shrunk",
            folder=folder,
            images="images_detectron2",
            labels="annotations_detectron2",
            split=split,
            void=_VOID,
        )
        self._originals = folder / _ORIGINALS / LONG.get(split, split)
        self._table = full_table(vocabulary)

    def jobs(self) -> Sequence[str]:
        """See `Preparation`."""
        if not self._found:
            raise AbsentDataError(
                f"{self._originals} has no *{_SEGMENTS}: it is not the publisher's folder. Download the full "
                f"ADE20K (version 2021_17_01) from {ADE20KFull.info.source} and unpack it, so that "
                "ADE20K_2021_17_01/images/ADE is there."
            )
        return sorted(self._found)

    def pair(self, job: str) -> tuple[bytes, Int16[np.ndarray, "h w"]]:
        """See `Detectron2Maps`."""
        path = self._found[job]
        labels = read_full_labels(path.with_name(f"{job}{_SEGMENTS}"), self._table)
        cv2 = needed("cv2", "opencv-python-headless", "Shrinking the pictures of ADE20K")
        with opened(path) as picture:
            image: Image = np.asarray(picture.convert("RGB"))
        if image.shape[:2] != labels.shape:
            raise DataError(f"{path} and its {_SEGMENTS} differ in size. Unpack both again.")
        height, width = shrunk_size(*labels.shape)
        if (height, width) != labels.shape:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        _, encoded = cv2.imencode(".jpg", image[:, :, ::-1])
        return encoded.tobytes(), labels

    @cached_property
    def _found(self) -> dict[str, Path]:
        """Key -> picture, of all pictures that have a map of segments."""
        return {path.stem: path for path in _pictures(self._originals)}


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which a picture is evaluated: the short side at most `SHORT_SIDE`."""
    if min(height, width) <= SHORT_SIDE:
        return height, width
    if width >= height:
        return SHORT_SIDE, round(width / height * SHORT_SIDE)
    return round(height / width * SHORT_SIDE), SHORT_SIDE


def full_table(vocabulary: Vocabulary) -> Table:
    """Class id of the full data set -> class index; other classes have no label."""
    labels = {entry.id: index for index, entry in enumerate(vocabulary.classes) if entry.id is not None}
    return label_table(labels, others=IGNORED, bits=_BITS)


def read_full_labels(path: Path, table: Table) -> Int16[np.ndarray, "h w"]:
    """A publisher's map of segments, whose class id is ``256 (red // 10) + green``.

    Raises:
        DataError: it cannot be read or has not three channels.
    """
    with opened(path) as picture:
        if picture.mode not in ("RGB", "RGBA"):
            raise DataError(
                f"{path} has the pixel kind '{picture.mode}', not RGB: it is no map of segments of the full "
                "ADE20K. Unpack it again."
            )
        red, green = (np.asarray(channel) for channel in picture.split()[:2])
    return look_up(_class_ids(red, green), table, path)


def _class_ids(red: UInt8[np.ndarray, "h w"], green: UInt8[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    ids: UInt16[np.ndarray, "h w"] = (red // 10).astype(np.uint16) * 256 + green
    return ids


def _pictures(folder: Path) -> Iterator[Path]:
    """The pictures below a folder that have a map of segments beside them."""
    for place, folders, files in os.walk(folder):
        # Beside each picture lies a folder of its own with a mask per object: thousands of files.
        folders[:] = [one for one in folders if not one.startswith("ADE_")]
        names = set(files)
        for name in files:
            if name.endswith(_SEGMENTS) and f"{name.removesuffix(_SEGMENTS)}.jpg" in names:
                yield Path(place, f"{name.removesuffix(_SEGMENTS)}.jpg")
