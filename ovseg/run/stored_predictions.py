"""Predictions that a run has kept, read back; `ovseg.run.kept_predictions` is what writes them."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from jaxtyping import Int
from pycocotools import mask as rle

from ovseg.errors import DataError
from ovseg.report.coco import category_ids
from ovseg.report.pngs import ignore_value
from ovseg.types import NOTHING, Instances, Panoptic, Prediction, Segment
from ovseg.vocabulary import Vocabulary

_AGAIN = "Evaluate again with predictions=true resume=false."


class StoredPredictions:
    """The predictions of one run.

    Args:
        folder: of the predictions.
        vocabulary: the data set's classes.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        self._folder = folder
        self._vocabulary = vocabulary

    def read(self, key: str) -> Prediction:
        """What was kept of a picture, at least one view.

        Raises:
            DataError: nothing was kept of it, or its files are damaged.
        """
        try:
            return self._read(key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"The prediction of '{key}' in {self._folder} cannot be read ({error}). {_AGAIN}"
            ) from error

    def labels(self, key: str) -> Int[np.ndarray, "h w"]:
        """Class index per pixel, `ovseg.types.NOTHING` where there is none, of the first view that was kept.

        Raises:
            DataError: as `read`.
        """
        try:
            semantic = self._semantic(key)
        except (OSError, ValueError) as error:
            raise DataError(
                f"The prediction of '{key}' in {self._folder} cannot be read ({error}). {_AGAIN}"
            ) from error
        return label_map(self.read(key)) if semantic is None else semantic

    def _read(self, key: str) -> Prediction:
        part = json.loads((self._folder / "parts" / f"{key}.json").read_bytes())
        height, width = part["size"]
        semantic = self._semantic(key)
        if semantic is None and part["segments"] is None and part["instances"] is None:
            raise ValueError("no view of it was kept")
        return Prediction(
            self._vocabulary,
            (int(height), int(width)),
            None if semantic is None else torch.from_numpy(semantic),
            None if part["segments"] is None else self._panoptic(key, part["segments"]),
            None if part["instances"] is None else self._instances(part["instances"], height, width),
        )

    def _semantic(self, key: str) -> Int[np.ndarray, "h w"] | None:
        path = self._folder / "semantic" / f"{key}.png"
        if not path.exists():
            return None
        with PIL.Image.open(path) as picture:
            values = np.array(picture).astype(np.int32)
        return np.where(values == ignore_value(len(self._vocabulary)), NOTHING, values)

    def _panoptic(self, key: str, segments: list[dict[str, Any]]) -> Panoptic:
        with PIL.Image.open(self._folder / "panoptic" / f"{key}.png") as picture:
            colors = np.array(picture.convert("RGB")).astype(np.int32)
        ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        classes = self._vocabulary.classes
        found = []
        for segment in segments:
            label = self._label_of[segment["category_id"]]
            found.append(Segment(int(segment["id"]), label, classes[label].is_thing, None, segment["area"]))
        return Panoptic(torch.from_numpy(ids), tuple(found))

    def _instances(self, annotations: list[dict[str, Any]], height: int, width: int) -> Instances:
        masks = np.zeros((len(annotations), height, width), bool)
        for index, annotation in enumerate(annotations):
            masks[index] = rle.decode(annotation["segmentation"]).astype(bool)
        labels = [self._label_of[annotation["category_id"]] for annotation in annotations]
        scores = [float(annotation["score"]) for annotation in annotations]
        return Instances(
            torch.from_numpy(masks),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(scores, dtype=torch.float32),
        )

    @cached_property
    def _label_of(self) -> dict[int, int]:
        """Category id -> class index, in the list of the COCO files if there is one."""
        listed = self._folder / "panoptic.json"
        ids = category_ids(self._vocabulary)
        if listed.exists():
            ids = [int(category["id"]) for category in json.loads(listed.read_bytes())["categories"]]
        return {value: index for index, value in enumerate(ids)}


def label_map(prediction: Prediction) -> Int[np.ndarray, "h w"]:
    """Class index per pixel, `NOTHING` where there is none: the semantic view, else the segments' classes,
    else the instances', surer ones over less sure ones."""
    if prediction.semantic is not None:
        return prediction.semantic.numpy().astype(np.int32)
    if prediction.panoptic is not None:
        ids = prediction.panoptic.ids.numpy()
        values, inverse = np.unique(ids, return_inverse=True)
        label_of = {segment.id: segment.label for segment in prediction.panoptic.segments}
        lookup = np.array([label_of.get(value, NOTHING) for value in values.tolist()], np.int32)
        return np.asarray(lookup[inverse.reshape(ids.shape)])
    labels = np.full(prediction.image_size, NOTHING, np.int32)
    if prediction.instances is not None:
        for index in torch.argsort(prediction.instances.scores, stable=True).tolist():
            labels[prediction.instances.masks[index].numpy()] = int(prediction.instances.labels[index])
    return labels
