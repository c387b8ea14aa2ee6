"""Writing a data set's truth as other tools want it: COCO's panoptic and instance files, and label maps."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Int32
from pycocotools import mask as coco_mask

from ovseg.data.base import BaseDataset
from ovseg.data.detectron2_maps import encode_labels
from ovseg.data.preparation import Made, Preparation
from ovseg.truth import PanopticTruth, TrueInstance


@dataclass(frozen=True)
class TruthNames:
    """Where the files are, relative to the folder; ``{key}`` is the picture's, ``{group}`` its first word.

    Attributes:
        panoptic: folder of panoptic maps; with ``.json`` the list of segments.
        instances: the instances, a JSON file; None for none.
        semantic: a picture's label map, 255 where there is no label.
        panoptic_map, picture: a picture's panoptic map and the picture itself, as the list names them.
    """

    panoptic: str
    instances: str | None
    semantic: str
    panoptic_map: str
    picture: str


class TruthFiles(Preparation):
    """The three views of a data set's truth.

    Args:
        dataset: whose truth is written, read from its publisher's files.
        folder: that the files go to.
        names: of the files.
    """

    def __init__(self, dataset: BaseDataset, *, folder: Path, names: TruthNames) -> None:
        super().__init__(
            name=names.panoptic, what=f"truth for other tools ({dataset.info.title})", folder=folder
        )
        self._dataset = dataset
        self._names = names

    def jobs(self) -> Sequence[str]:
        """See `Preparation`."""
        return self._dataset.keys

    def files(self, job: str) -> Sequence[str]:
        """See `Preparation`."""
        panoptic_map = self._named(self._names.panoptic_map, job)
        return f"{self._names.panoptic}/{panoptic_map}", self._named(self._names.semantic, job)

    def make(self, job: str) -> Made:
        """See `Preparation`; the record is (height, width, segments, instances)."""
        truth = self._dataset.truth(self._index[job])
        assert truth.panoptic is not None, "a data set offers these files only if it has such truth"
        assert truth.semantic is not None, "as above"
        panoptic_file, label_file = self.files(job)
        instances = [self._instance(one) for one in truth.instances or ()]
        return Made(
            {panoptic_file: encode_ids(truth.panoptic.ids), label_file: encode_labels(truth.semantic, 255)},
            record=[*truth.image_size, self._segments(truth.panoptic), instances],
        )

    def finish(self, records: Sequence[Any]) -> Mapping[str, bytes]:
        """See `Preparation`."""
        keys = self._dataset.keys
        images = [
            {"id": key, "file_name": self._named(self._names.picture, key), "height": height, "width": width}
            for key, (height, width, _, _) in zip(keys, records, strict=True)
        ]
        lists = [
            {
                "image_id": key,
                "file_name": self._named(self._names.panoptic_map, key),
                "segments_info": segments,
            }
            for key, (_, _, segments, _) in zip(keys, records, strict=True)
        ]
        made = {f"{self._names.panoptic}.json": self._json(images, lists, only_things=False)}
        if self._names.instances is not None:
            found = [(key, one) for key, record in zip(keys, records, strict=True) for one in record[3]]
            numbered = [{"id": id, "image_id": key, **one} for id, (key, one) in enumerate(found, start=1)]
            made[self._names.instances] = self._json(images, numbered, only_things=True)
        return made

    def _segments(self, panoptic: PanopticTruth) -> list[dict[str, Any]]:
        return [
            {
                "id": segment.id,
                "category_id": self._category[segment.label],
                "iscrowd": int(segment.is_crowd),
                **_extent(panoptic.ids == segment.id),
            }
            for segment in panoptic.segments
        ]

    def _instance(self, instance: TrueInstance) -> dict[str, Any]:
        counts = instance.mask["counts"].decode()
        return {
            "category_id": self._category[instance.label],
            "iscrowd": int(instance.is_crowd),
            "area": int(instance.area),
            "bbox": [int(edge) for edge in coco_mask.toBbox(instance.mask)],
            "segmentation": {"size": list(instance.mask["size"]), "counts": counts},
        }

    def _json(self, images: object, annotations: object, *, only_things: bool) -> bytes:
        categories = [
            {"id": self._category[index], "name": entry.name, "isthing": int(entry.is_thing)}
            for index, entry in enumerate(self._dataset.vocabulary.classes)
            if entry.is_thing or not only_things
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        return json.dumps(content, separators=(",", ":")).encode()

    def _named(self, pattern: str, key: str) -> str:
        return pattern.format(key=key, group=key.partition("_")[0])

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self._dataset.keys)}

    @cached_property
    def _category(self) -> list[int]:
        """The publisher's id of each class."""
        entries = enumerate(self._dataset.vocabulary.classes)
        return [index if entry.id is None else entry.id for index, entry in entries]


def encode_ids(ids: Int32[np.ndarray, "h w"]) -> bytes:
    """A panoptic map as a PNG file, ``R + 256 G + 256^2 B`` being the id."""
    file = io.BytesIO()
    channels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
    PIL.Image.fromarray(channels).save(file, "PNG")
    return file.getvalue()


def _extent(mask: np.ndarray) -> dict[str, Any]:
    """The area of a mask and its box, (x, y, width, height) in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return {"area": 0, "bbox": [0, 0, 0, 0]}
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
    return {"area": int(np.count_nonzero(mask)), "bbox": box}
