"""Predictions of an evaluation, kept in the formats of ``ovseg predict``.

semantic/KEY.png       class index per pixel
panoptic/KEY.png       COCO's panoptic PNG
panoptic.json, instances.json    over all pictures, written at the end
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovseg.errors import OutputError
from ovseg.report.coco import image_ids, write_coco
from ovseg.report.files import output_error, write_file, write_json
from ovseg.run.results import SUFFIX, encode_results
from ovseg.types import Prediction, Task
from ovseg.vocabulary import Vocabulary

_PARTS = "parts"
"""Folder of what the files over all pictures are made from."""


@dataclass(frozen=True)
class KeptPredictions:
    """The folder of predictions of a run.

    Attributes:
        folder: is made when needed.
        tasks: the views to keep.
    """

    folder: Path
    tasks: tuple[Task, ...]

    def save(self, key: str, prediction: Prediction) -> None:
        """Write what is kept of one picture, from any process.

        Raises:
            OutputError: a file cannot be written.
        """
        # The picture itself is only needed for an overlay.
        results = encode_results(np.empty((0, 0, 3), np.uint8), prediction, self.tasks, overlay=False)
        for kind, content in results.files.items():
            if kind != "instances":
                write_file(_made(self.folder / kind / f"{key}.{SUFFIX[kind]}"), content)
        part: dict[str, Any] = {"size": prediction.image_size, "segments": results.segments}
        part["instances"] = json.loads(results.files.get("instances", b"null"))
        write_json(_made(self.folder / _PARTS / f"{key}.json"), part)

    def write_indices(self, keys: Sequence[str], vocabulary: Vocabulary) -> None:
        """Write `panoptic.json` and `instances.json`.

        Args:
            keys: of the pictures whose predictions are kept.
            vocabulary: of the predictions.

        Raises:
            OutputError: a file cannot be written, or what was kept of a picture is gone.
        """
        ids = dict(zip(keys, image_ids(keys), strict=True))
        images = []
        for key, image_id in ids.items():
            height, width = self._part(key)["size"]
            images.append({"id": image_id, "file_name": key, "height": height, "width": width})
        if "panoptic" in self.tasks:
            write_coco(self.folder / "panoptic.json", vocabulary, images, self._segments(ids))
        if "instance" in self.tasks:
            write_coco(self.folder / "instances.json", vocabulary, images, self._instances(ids))

    def _segments(self, ids: dict[str, int]) -> Iterator[dict[str, Any]]:
        for key, image_id in ids.items():
            segments = self._part(key)["segments"]
            yield {"image_id": image_id, "file_name": f"{key}.png", "segments_info": segments}

    def _instances(self, ids: dict[str, int]) -> Iterator[dict[str, Any]]:
        number = 0
        for key, image_id in ids.items():
            for annotation in self._part(key)["instances"]:
                number += 1
                yield {"id": number, "image_id": image_id, **annotation, "iscrowd": 0}

    def _part(self, key: str) -> Any:  # noqa: ANN401 (JSON)
        path = self.folder / _PARTS / f"{key}.json"
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{path} was written by this run or an earlier one and cannot be read now ({error}). Start "
                "afresh with resume=false."
            ) from error


def _made(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    return path
