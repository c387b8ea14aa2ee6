"""ADE20K with 150 classes (SceneParse150): semantic, panoptic and instance truth.

Zhou et al., IJCV 2019. Layouts that are read (root is the folder ``ADEChallengeData2016``):
    pictures     images/{training,validation}/*.jpg
    semantic     annotations/*/*.png (0 nothing, 1..150), or detectron2's annotations_detectron2/*/*.png
    instances    annotations_instance/*/*.png (red the class, green the instance), an archive of its own
    prepared     ade20k_panoptic_{train,val}(.json) and ade20k_instance_{train,val}.json, as Mask2Former's and
                 FC-CLIP's scripts make them; read where annotations_instance is not there

From annotations_instance the panoptic and instance truth are made while reading; what ``ovseg prepare``
writes is the same and is for other tools.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ovseg.data.ade20k_truth import instances_of, panoptic_of, read_instance_map
from ovseg.data.base import Item
from ovseg.data.coco_truth import COCOInstances, COCOSegments
from ovseg.data.info import DatasetInfo
from ovseg.data.label_maps import LabelMaps, Layout, folder_in, spelled
from ovseg.data.labels import Table, label_table, read_labels, same_labels
from ovseg.data.truth_files import TruthFiles, TruthNames
from ovseg.errors import DataError
from ovseg.image import Task
from ovseg.truth import Truth

_CLASSES = 150
_SAME = {label: label for label in range(_CLASSES)}
_PLACES = ("", "ADEChallengeData2016")


class ADE20K(LabelMaps):
    """ADE20K, 150 classes. Arguments as `LabelMaps`."""

    info = DatasetInfo(
        "ADE20K, 150 classes",
        "http://sceneparsing.csail.mit.edu/",
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/",
        {"train": 20210, "val": 2000},
    )
    list_name = "ade20k_150"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The publisher's, which mmsegmentation uses, then detectron2's."""
        published = label_table({label + 1: label for label in range(_CLASSES)}, ignored=(0,))
        return _layout("annotations", published), _layout("annotations_detectron2", same_labels(_CLASSES))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All three, or fewer where files of instances are missing."""
        made_here = self._instance_maps is not None
        panoptic: tuple[Task, ...] = ("panoptic",) if made_here or self._panoptic is not None else ()
        instance: tuple[Task, ...] = ("instance",) if made_here or self._instances is not None else ()
        return ("semantic", *panoptic, *instance)

    @property
    def preparations(self) -> tuple[TruthFiles, ...]:
        """detectron2's files, for other tools; they can be made where the publisher's instance maps are."""
        if self._instance_maps is None:
            return ()
        folder = self._instance_maps.parents[1]
        return (TruthFiles(self, folder=folder, names=_names(self.split)),)

    def missing(self) -> Iterator[str]:
        """See `BaseDataset`; also which truth is missing."""
        yield from super().missing()
        if self.layout_folder is not None and len(self.tasks) < 3:
            yield (
                f"{self.root} has no annotations_instance, so its truth is {' and '.join(self.tasks)} only. "
                f"For all three unpack annotations_instance.tar (from {self.info.source}) there."
            )

    def _find(self) -> list[Item]:
        items, folder = super()._find(), self._instance_maps
        if folder is None:
            return items
        return [replace(item, labels=(*item.labels, folder / f"{item.key}.png")) for item in items]

    def _read(self, index: int) -> Truth:
        item = self.items[index]
        semantic = read_labels(item.labels[0], self.layout.table)
        size = (semantic.shape[0], semantic.shape[1])
        if len(item.labels) > 1:
            path = item.labels[1]
            codes = read_instance_map(path)
            if codes.shape != semantic.shape:
                raise DataError(f"{path} and {item.labels[0]} differ in size. Unpack both again.")
            return Truth(size, semantic, panoptic_of(semantic, codes, self._things), instances_of(codes))
        panoptic = None if self._panoptic is None else self._panoptic.of(item.key)
        instances = None if self._instances is None else self._instances.of(item.key, size)
        return Truth(size, semantic, panoptic, instances)

    @cached_property
    def _instance_maps(self) -> Path | None:
        """The publisher's folder of instance maps, if it is there."""
        folder = spelled("annotations_instance/{long}", self.split)
        place = folder_in(self.root, _PLACES, folder)
        return place / folder if place is not None else None

    @cached_property
    def _panoptic(self) -> COCOSegments | None:
        """What scripts have made of the panoptic truth, if it is there."""
        path = self._prepared_file(f"{_names(self.split).panoptic}.json")
        if path is None:
            return None
        return COCOSegments(path=path, folder=path.with_suffix(""), label_of=_SAME)

    @cached_property
    def _instances(self) -> COCOInstances | None:
        """What scripts have made of the instances, if it is there."""
        path = self._prepared_file(f"ade20k_instance_{self.split}.json")
        return None if path is None else COCOInstances(path=path, label_of=_SAME)

    def _prepared_file(self, file: str) -> Path | None:
        place = folder_in(self.root, _PLACES, file)
        return None if place is None else place / file

    @cached_property
    def _things(self) -> frozenset[int]:
        return frozenset(index for index, entry in enumerate(self.vocabulary.classes) if entry.is_thing)


def _layout(labels: str, table: Table) -> Layout:
    return Layout(places=_PLACES, images="images/{long}", labels=f"{labels}/{{long}}", table=table)


def _names(split: str) -> TruthNames:
    """As Mask2Former's scripts call them."""
    return TruthNames(
        panoptic=f"ade20k_panoptic_{split}",
        instances=f"ade20k_instance_{split}.json",
        semantic=spelled("annotations_detectron2/{long}/", split) + "{key}.png",
        panoptic_map="{key}.png",
        picture="{key}.jpg",
    )
