"""COCO-Object: the label maps of COCO-Stuff with all that is no thing as background; 81 classes.

The benchmark of TCL (Cha et al., CVPR 2023) and of the training-free methods after it. Layouts that are read:
those of COCO-Stuff (see `ovseg.data.coco_stuff`) with its originals, or the prepared
``annotations/{val,train}2017/*_instanceTrainIds.png``. A thing's value in the originals, its COCO id less 1,
becomes its place among the 80 plus 1; stuff and, unlike in COCO-Stuff, unlabelled pixels become background 0,
so every pixel counts.
"""

from functools import cached_property

from ovseg.data.coco import PICTURES
from ovseg.data.coco_stuff import LICENCE, SOURCE, UNLABELLED, StuffMaps
from ovseg.data.info import DatasetInfo
from ovseg.data.labels import Table, label_table
from ovseg.vocabulary import Vocabulary, load_vocabulary

BACKGROUND = 0


class COCOObject(StuffMaps):
    """COCO-Object, background and 80 things."""

    prepared_ending = "_instanceTrainIds.png"

    @property
    def info(self) -> DatasetInfo:
        """See `BaseDataset`."""
        return DatasetInfo("COCO-Object", SOURCE, LICENCE, PICTURES)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Background and the 80 things; the benchmark gives the background 17 names."""
        return load_vocabulary("coco_object")

    @property
    def original_table(self) -> Table:
        """See `StuffMaps`."""
        stuff = load_vocabulary("coco_stuff", names="plain").classes
        table = {UNLABELLED: BACKGROUND}
        table |= {entry.id - 1: BACKGROUND for entry in stuff if entry.id is not None and not entry.is_thing}
        classes = enumerate(self.vocabulary.classes)
        table |= {entry.id - 1: index for index, entry in classes if entry.id}
        return label_table(table)
