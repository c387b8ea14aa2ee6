"""Pascal Context: the pictures of VOC 2010 with 459 classes, and with the 59 frequent ones of these.

Mottaghi et al., CVPR 2014. The 60-class maps (0 background) are those of mmsegmentation's converter, made
from ``trainval_merged.json``; without background they have 59 classes. The 459-class maps come from the
publisher's MATLAB files. Read are mmsegmentation's ``SegmentationClassContext`` and detectron2's
``pascal_ctx_d2``.
"""

from pathlib import Path

from ovseg.data.context_maps import FREQUENT_LABELS, FREQUENT_LIST, INDEX, AllClasses, FrequentClasses
from ovseg.data.info import DatasetInfo
from ovseg.data.label_maps import LabelMaps, Layout, folder_in
from ovseg.data.labels import Table, label_table, same_labels

_PAGE = "https://cs.stanford.edu/~roozbeh/pascal-context/"
_PICTURES = {"train": 4996, "val": 5104}
_VOC = ("", "VOC2010", "VOCdevkit/VOC2010")
_CLASSES = 59
_BITS = 16


class _Context(LabelMaps):
    """What all share."""

    @property
    def place(self) -> Path | None:
        """See `BaseDataset`; the folder of VOC 2010 before anything is prepared."""
        originals = folder_in(self.root, _VOC, INDEX)
        return super().place or originals


class _Frequent(_Context):
    """What 59 and 60 classes share."""

    hint = (
        "'ovseg prepare pascal_context_60' makes them, for 59 classes too, from the originals: "
        "VOCdevkit/VOC2010 with JPEGImages and trainval_merged.json."
    )

    @property
    def preparations(self) -> tuple[FrequentClasses, ...]:
        """mmsegmentation's label maps, from ``trainval_merged.json``."""
        return (FrequentClasses(folder=_voc_folder(self.root), split=self.split),)


class PascalContext59(_Frequent):
    """Pascal Context with 59 classes; the rest of a picture is left out. Arguments as `LabelMaps`."""

    info = DatasetInfo("Pascal Context, 59 classes", _PAGE, _PAGE, _PICTURES)
    list_name = "pascal_context_59"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """mmsegmentation's, then detectron2's."""
        without = label_table({index + 1: index for index in range(_CLASSES)}, ignored=(0, 255))
        return _mmseg(without), _detectron2("annotations_ctx59", same_labels(_CLASSES))


class PascalContext60(_Frequent):
    """Pascal Context with 59 classes and the rest as background. Arguments as `LabelMaps`."""

    info = DatasetInfo("Pascal Context, background and 59 classes", _PAGE, _PAGE, _PICTURES)
    list_name = "pascal_context_60"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """mmsegmentation's, then detectron2's, in which only the background has no label."""
        with_background = label_table({255: 0} | {index: index + 1 for index in range(_CLASSES)})
        return _mmseg(same_labels(_CLASSES + 1)), _detectron2("annotations_ctx59", with_background)


class PascalContext459(_Context):
    """Pascal Context with all 459 classes. Arguments as `LabelMaps`."""

    info = DatasetInfo("Pascal Context, 459 classes", _PAGE, _PAGE, _PICTURES)
    list_name = "pascal_context_459"
    hint = (
        "'ovseg prepare pascal_context_459' makes them from the originals: VOCdevkit/VOC2010 with "
        "JPEGImages, trainval/*.mat and trainval_merged.json."
    )

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """detectron2's."""
        table = same_labels(459, ignored=(65535,), bits=_BITS)
        return (_detectron2("annotations_ctx459", table, suffix=".tif"),)

    @property
    def preparations(self) -> tuple[AllClasses, ...]:
        """detectron2's label maps, from the publisher's MATLAB files."""
        return (
            AllClasses(
                folder=self.root / "pascal_ctx_d2", originals=_voc_folder(self.root), split=self.split
            ),
        )


def _voc_folder(root: Path) -> Path:
    """Where the originals are, or would be."""
    return folder_in(root, _VOC, "JPEGImages") or root / _VOC[-1]


def _mmseg(table: Table) -> Layout:
    return Layout(
        places=_VOC, images="JPEGImages", labels=FREQUENT_LABELS, table=table, list_file=FREQUENT_LIST
    )


def _detectron2(labels: str, table: Table, *, suffix: str = ".png") -> Layout:
    return Layout(
        places=("", "pascal_ctx_d2"),
        images="images/{long}",
        labels=f"{labels}/{{long}}",
        table=table,
        label_suffix=suffix,
    )
