"""What is written of one picture, as bytes in memory."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovseg.report.coco import instance_annotations, segments_info
from ovseg.report.overlay import draw_overlay
from ovseg.report.pngs import overlay_png, panoptic_png, semantic_png
from ovseg.types import Image, Prediction, Task

SUFFIX = {"overlay": "png", "semantic": "png", "panoptic": "png", "instances": "json"}
"""Kind of result -> suffix of its file; also the names of the folders they go to."""


@dataclass(frozen=True)
class Results:
    """The files of one picture and what goes into the indices.

    Attributes:
        files: kind -> content.
        segments: COCO's segments_info; None without the panoptic task.
        instances: how many; None without the instance task.
    """

    files: Mapping[str, bytes]
    segments: Sequence[Mapping[str, Any]] | None
    instances: int | None


def encode_results(
    image: Image, prediction: Prediction, tasks: Collection[Task], *, overlay: bool
) -> Results:
    """Encode the views that are asked for, which the prediction must have.

    Raises:
        OutputError: there are more classes than a semantic PNG can hold.
    """
    files: dict[str, bytes] = {}
    segments, count = None, None
    if overlay:
        files["overlay"] = overlay_png(draw_overlay(image, prediction))
    if "semantic" in tasks and prediction.semantic is not None:
        files["semantic"] = semantic_png(prediction.semantic, len(prediction.vocabulary))
    if "panoptic" in tasks and prediction.panoptic is not None:
        files["panoptic"] = panoptic_png(prediction.panoptic.ids)
        segments = segments_info(prediction.panoptic, prediction.vocabulary)
    if "instance" in tasks and prediction.instances is not None:
        annotations = instance_annotations(prediction.instances, prediction.vocabulary)
        files["instances"] = json.dumps(annotations, allow_nan=False).encode()
        count = len(annotations)
    return Results(files, segments, count)
