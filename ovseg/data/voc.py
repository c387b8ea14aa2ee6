"""Pascal VOC 2012 segmentation, with background (21 classes) and without (20).

Everingham et al., IJCV 2015. Label maps are palette PNGs: 0 background, 1..20 objects, 255 unlabelled
borders. Without background, 0 is unlabelled as well. Read are the publisher's folders, which mmsegmentation
uses as they are, and detectron2's ``pascal_voc_d2``.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Int16

from ovseg.data.base import Item
from ovseg.data.detectron2_maps import Detectron2Maps, picture_file
from ovseg.data.info import DatasetInfo
from ovseg.data.label_maps import LabelMaps, Layout
from ovseg.data.labels import Table, label_table, read_labels, same_labels

_PAGE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
_PICTURES = {"train": 1464, "val": 1449}

WITHOUT_BACKGROUND = label_table({index + 1: index for index in range(20)}, ignored=(0, 255))
"""Of the publisher's label maps, for 20 classes."""


class VOC21(LabelMaps):
    """Pascal VOC 2012 with the background as a class; arguments as `LabelMaps`."""

    info = DatasetInfo("Pascal VOC 2012 segmentation, 21 classes", _PAGE, _PAGE, _PICTURES)
    list_name = "voc_21"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The publisher's, then detectron2's."""
        return _original(same_labels(21)), _detectron2("annotations_pascal21", same_labels(21))

    @property
    def preparations(self) -> tuple[Detectron2Maps, ...]:
        """detectron2's folders, for those who want them; not needed here."""
        return (VOCMaps(self, layout=self.layouts[0], labels="annotations_pascal21"),)


class VOC20(LabelMaps):
    """Pascal VOC 2012 without background, whose pixels are left out; arguments as `LabelMaps`."""

    info = DatasetInfo("Pascal VOC 2012 segmentation, 20 classes", _PAGE, _PAGE, _PICTURES)
    list_name = "voc_20"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The publisher's, then detectron2's with 20 classes, then its with 21."""
        return (
            _original(WITHOUT_BACKGROUND),
            _detectron2("annotations_pascal20", same_labels(20)),
            _detectron2("annotations_pascal21", WITHOUT_BACKGROUND),
        )

    @property
    def preparations(self) -> tuple[Detectron2Maps, ...]:
        """detectron2's folders, for those who want them; not needed here."""
        return (VOCMaps(self, layout=self.layouts[0], labels="annotations_pascal20"),)


class VOCMaps(Detectron2Maps):
    """``pascal_voc_d2`` of the publisher's folders.

    Args:
        dataset: whose root holds them.
        layout: the publisher's.
        labels: the folder of label maps.
    """

    def __init__(self, dataset: LabelMaps, *, layout: Layout, labels: str) -> None:
        super().__init__(
            what=f"pictures and labels of {dataset.info.title}",
            folder=dataset.root / "pascal_voc_d2",
            labels=labels,
            split=dataset.split,
        )
        self._dataset = dataset
        self._layout = layout

    def jobs(self) -> Sequence[str]:
        """See `Preparation`."""
        return list(self._items)

    def pair(self, job: str) -> tuple[bytes, Int16[np.ndarray, "h w"]]:
        """See `Detectron2Maps`."""
        item = self._items[job]
        return picture_file(item.image), read_labels(item.labels[0], self._layout.table)

    @cached_property
    def _items(self) -> dict[str, Item]:
        return {item.key: item for item in self._dataset.items_of(self._layout)}


def _original(table: Table) -> Layout:
    return Layout(
        places=("", "VOC2012", "VOCdevkit/VOC2012"),
        images="JPEGImages",
        labels="SegmentationClass",
        table=table,
        list_file="ImageSets/Segmentation/{split}.txt",
    )


def _detectron2(labels: str, table: Table) -> Layout:
    folder = f"{labels}/{{long}}"
    return Layout(places=("", "pascal_voc_d2"), images="images/{long}", labels=folder, table=table)
