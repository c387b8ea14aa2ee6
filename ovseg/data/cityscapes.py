"""Cityscapes with its 19 evaluated classes: semantic, panoptic and instance truth.

Cordts et al., CVPR 2016. Layouts that are read (root is the folder ``cityscapes``):
    pictures    leftImg8bit/{train,val}/<city>/*_leftImg8bit.png
    semantic    gtFine/*/<city>/*_gtFine_labelTrainIds.png, which cityscapesScripts makes, or *_labelIds.png
                of the archive, which say the same
    segments    gtFine/*/<city>/*_gtFine_instanceIds.png of the archive, or cityscapesScripts'
                gtFine/cityscapes_panoptic_{train,val}(.json)

The rules are those of cityscapesScripts' createTrainIdLabelImgs and createPanopticImgs: an instance id from
1000 on is a thing of the class ``id // 1000``; a smaller one is a class, and if that is a thing, a crowd.
Classes that are not evaluated (caravan, bridge ...) are void.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from pycocotools import mask as coco_mask

from ovseg.data.base import BaseDataset, Item
from ovseg.data.coco_truth import COCOSegments
from ovseg.data.info import DatasetInfo
from ovseg.data.label_maps import Split
from ovseg.data.labels import Table, label_table, read_index_map, read_labels, same_labels
from ovseg.data.panoptic import runs_of
from ovseg.data.run_lengths import masks_of
from ovseg.data.truth_files import TruthFiles, TruthNames
from ovseg.errors import AbsentDataError, DataError
from ovseg.image import Task
from ovseg.truth import IGNORED, PanopticTruth, TrueInstance, TrueSegment, Truth
from ovseg.vocabulary import Vocabulary, load_vocabulary

_LABELS = 34
"""Ids 0..33 of the publisher's label list; the licence plate, -1, is never drawn."""
_FIRST_INSTANCE = 1000
_PREPARED = "labelTrainIds"
_PUBLISHED = "labelIds"


class Cityscapes(BaseDataset):
    """Cityscapes, 19 classes.

    Args:
        root: the folder ``cityscapes``, with ``leftImg8bit`` and ``gtFine``.
        split: ``val`` or ``train``.
    """

    info = DatasetInfo(
        "Cityscapes, fine annotations",
        "https://www.cityscapes-dataset.com/downloads/",
        "https://www.cityscapes-dataset.com/license/",
        {"train": 2975, "val": 500},
    )

    def __init__(self, *, root: Path, split: Split = "val") -> None:
        super().__init__(root=root, split=split)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """See `ovseg.interfaces.Dataset`."""
        return load_vocabulary("cityscapes", names="plain")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All three."""
        return ("semantic", "panoptic", "instance")

    @property
    def preparations(self) -> tuple[TruthFiles, ...]:
        """The files of cityscapesScripts, for other tools; not needed here."""
        names = TruthNames(
            panoptic=f"cityscapes_panoptic_{self.split}",
            instances=None,
            semantic=f"{self.split}/{{group}}/{{key}}_gtFine_{_PREPARED}.png",
            panoptic_map="{key}_gtFine_panoptic.png",
            picture="{key}_gtFine_leftImg8bit.png",
        )
        return (TruthFiles(self, folder=self._truth, names=names),)

    @property
    def _truth(self) -> Path:
        return self.root / "gtFine"

    def _find(self) -> Sequence[Item]:
        images, labels = self.root / "leftImg8bit" / self.split, self._truth / self.split
        for folder in (images, labels):
            if not folder.is_dir():
                raise AbsentDataError(self._not_there(folder))
        ending = f"_gtFine_{self._kind}.png"
        return [
            Item(
                key,
                images / path.parent.name / f"{key}_leftImg8bit.png",
                (path, *self._segment_files(path, key)),
            )
            for path in sorted(labels.glob(f"*/*{ending}"))
            for key in [path.name.removesuffix(ending)]
        ]

    def _segment_files(self, labels: Path, key: str) -> tuple[Path, ...]:
        """The map of instance ids beside a label map; none where only the prepared files are there."""
        ids = labels.with_name(f"{key}_gtFine_instanceIds.png")
        return (ids,) if ids.exists() or not self._panoptic_file.exists() else ()

    @cached_property
    def _kind(self) -> str:
        """Of the label maps: what cityscapesScripts makes, if all of them are there."""
        made, published = (
            len(list((self._truth / self.split).glob(f"*/*_gtFine_{kind}.png")))
            for kind in (_PREPARED, _PUBLISHED)
        )
        return _PREPARED if made and made >= published else _PUBLISHED

    def _read(self, index: int) -> Truth:
        item = self.items[index]
        semantic = read_labels(item.labels[0], self._table)
        size = (semantic.shape[0], semantic.shape[1])
        if len(item.labels) > 1:
            ids = read_index_map(item.labels[1]).astype(np.int32)
            if ids.shape != size:
                raise DataError(
                    f"{item.labels[1]} has {ids.shape[1]} x {ids.shape[0]} pixels, {item.labels[0].name} has "
                    f"{size[1]} x {size[0]}. Unpack both again."
                )
            panoptic = self.segments_of(ids, item.labels[1])
            return Truth(size, semantic, panoptic, self._instances(panoptic) + self._not_evaluated(ids))
        panoptic = self._prepared.of(item.key)
        return Truth(size, semantic, panoptic, self._instances(panoptic))

    def segments_of(self, ids: Int32[np.ndarray, "h w"], path: Path) -> PanopticTruth:
        """The panoptic truth of a map of instance ids, whose path is for the message.

        Raises:
            DataError: an id is of no class of Cityscapes.
        """
        kept = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
        segments = []
        for id in np.unique(runs_of(ids).values).tolist():
            category = id // _FIRST_INSTANCE if id >= _FIRST_INSTANCE else id
            if category >= _LABELS:
                raise DataError(
                    f"{path} holds the id {id}, which is of none of the {_LABELS} classes of Cityscapes. It "
                    "was changed by another tool: unpack gtFine_trainvaltest.zip again."
                )
            label = int(self._published_table[category])
            if label != IGNORED:
                kept[id] = id
                segments.append(TrueSegment(id, label, id < _FIRST_INSTANCE and label in self._things))
        return PanopticTruth(kept[ids], tuple(segments))

    def _instances(self, panoptic: PanopticTruth) -> tuple[TrueInstance, ...]:
        """The things and the crowds of them."""
        masks = masks_of(panoptic.ids)
        return tuple(
            TrueInstance(
                masks[one.id], one.label, float(coco_mask.area(masks[one.id])), is_crowd=one.is_crowd
            )
            for one in panoptic.segments
            if one.label in self._things
        )

    def _not_evaluated(self, ids: Int32[np.ndarray, "h w"]) -> tuple[TrueInstance, ...]:
        """Single things of classes that are not evaluated, as caravans.

        They are void in every other view, but cityscapesScripts' average precision does not excuse a thing
        that is predicted there. Prepared files do not tell them from other void.
        """
        categories = np.minimum(ids // _FIRST_INSTANCE, _LABELS - 1)
        of_no_class = np.array([label not in self._label_of for label in range(_LABELS)])
        masks = masks_of(np.where((ids >= _FIRST_INSTANCE) & of_no_class[categories], ids, 0))
        return tuple(TrueInstance(mask, IGNORED, float(coco_mask.area(mask))) for mask in masks.values())

    @property
    def _table(self) -> Table:
        return self._published_table if self._kind == _PUBLISHED else same_labels(len(self.vocabulary))

    @cached_property
    def _published_table(self) -> Table:
        return label_table(self._label_of, ignored=set(range(_LABELS)) - set(self._label_of))

    @property
    def _panoptic_file(self) -> Path:
        return self._truth / f"cityscapes_panoptic_{self.split}.json"

    @cached_property
    def _prepared(self) -> COCOSegments:
        return COCOSegments(
            path=self._panoptic_file,
            folder=self._panoptic_file.with_suffix(""),
            label_of=self._label_of,
            suffix="_gtFine_panoptic.png",
        )

    @cached_property
    def _label_of(self) -> dict[int, int]:
        """Id of the publisher's list -> class index."""
        classes = enumerate(self.vocabulary.classes)
        return {entry.id: index for index, entry in classes if entry.id is not None}

    @cached_property
    def _things(self) -> frozenset[int]:
        return frozenset(index for index, entry in enumerate(self.vocabulary.classes) if entry.is_thing)
