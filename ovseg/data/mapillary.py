"""Mapillary Vistas 1.2 with its 65 evaluated classes: semantic and panoptic truth.

Neuhold et al., ICCV 2017. Layouts that are read (root is the folder ``mapillary_vistas``):
    version 1.2         {training,validation}/{images,labels,panoptic}
    version 2.0         {training,validation}/{images,v1.2/labels,v1.2/panoptic}
Label maps hold 0..64, and 65 where nothing is labelled; the panoptic files (panoptic/panoptic_2018.json)
count the same classes from 1. Nothing is prepared.
"""

from collections.abc import Iterator
from functools import cached_property

from ovseg.data.coco_truth import COCOSegments
from ovseg.data.info import DatasetInfo
from ovseg.data.label_maps import LabelMaps, Layout
from ovseg.data.labels import read_labels, same_labels
from ovseg.image import Task
from ovseg.truth import Truth

_CLASSES = 65
_LIST = "panoptic_2018.json"


class MapillaryVistas(LabelMaps):
    """Mapillary Vistas 1.2, 65 classes. Arguments as `LabelMaps`."""

    info = DatasetInfo(
        "Mapillary Vistas 1.2, 65 classes",
        "https://www.mapillary.com/dataset/vistas",
        "https://www.mapillary.com/dataset/vistas",
        {"train": 18000, "val": 2000},
    )
    list_name = "mapillary_vistas"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """That of version 1.2, then that of 2.0."""
        return _layout(""), _layout("v1.2/")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Semantic and panoptic, or the former alone where the panoptic files are not there."""
        return ("semantic", "panoptic") if self._panoptic is not None else ("semantic",)

    def missing(self) -> Iterator[str]:
        """See `BaseDataset`; also that there is semantic truth alone."""
        yield from super().missing()
        if self.layout_folder is not None and self._panoptic is None:
            yield (
                f"{self.layout_folder.parent} has no panoptic/{_LIST}, so there is only semantic truth. For "
                f"panoptic truth unpack the folder 'panoptic' too (from {self.info.source})."
            )

    def _read(self, index: int) -> Truth:
        item = self.items[index]
        semantic = read_labels(item.labels[0], self.layout.table)
        panoptic = self._panoptic.of(item.key) if self._panoptic is not None else None
        return Truth((semantic.shape[0], semantic.shape[1]), semantic, panoptic)

    @cached_property
    def _panoptic(self) -> COCOSegments | None:
        """The panoptic files beside the label maps, if they are there."""
        if self.layout_folder is None:
            return None
        folder = self.layout_folder.with_name("panoptic")
        if not (folder / _LIST).exists():
            return None
        classes = enumerate(self.vocabulary.classes)
        label_of = {entry.id: index for index, entry in classes if entry.id is not None}
        return COCOSegments(path=folder / _LIST, folder=folder, label_of=label_of)


def _layout(version: str) -> Layout:
    return Layout(
        places=("", "mapillary_vistas"),
        images="{long}/images",
        labels=f"{{long}}/{version}labels",
        table=same_labels(_CLASSES, ignored=(_CLASSES,)),
    )
