"""What is written over all pictures of a prediction run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ovseg.errors import OutputError
from ovseg.report.coco import categories, image_ids, write_coco
from ovseg.report.files import write_json
from ovseg.report.pngs import ignore_value
from ovseg.run.output_folder import INDEX, INSTANCE_INDEX, PANOPTIC_INDEX, Item, Record, settings_digest
from ovseg.run.summary import Failure
from ovseg.vocabulary import Vocabulary

Json = dict[str, Any]
Result = tuple[Item, Record | Failure]


def write_indices(
    folder: Path, vocabulary: Vocabulary, settings: Mapping[str, Any], results: Sequence[Result]
) -> None:
    """Write `predictions.json`, and by task COCO's `panoptic.json` and `instances.json`.

    `image_id` is the number in the picture's name if every name is one of its own (as in COCO), else its
    position, from 1. The pixels of the semantic PNGs are positions in `classes`, where each class has the
    `category_id` of the COCO files.

    Args:
        folder: of the run.
        vocabulary: of the run.
        settings: of the run, with the key `tasks`.
        results: per picture its record or why it failed, in the order of the inputs.

    Raises:
        OutputError: a file cannot be written, or the results of a picture have been removed meanwhile.
    """
    ids = image_ids([item.stem for item, _ in results])
    done = [
        (id_, record) for id_, (_, record) in zip(ids, results, strict=True) if isinstance(record, Record)
    ]
    images = [
        {"id": id_, "file_name": Path(record.input).name, "height": record.size[0], "width": record.size[1]}
        for id_, record in done
    ]
    if "panoptic" in settings["tasks"]:
        write_coco(folder / PANOPTIC_INDEX, vocabulary, images, _panoptic(done))
    if "instance" in settings["tasks"]:
        write_coco(folder / INSTANCE_INDEX, vocabulary, images, _instances(folder, done))
    index = {
        "ovseg": settings["ovseg"],
        "method": settings["method"],
        "tasks": settings["tasks"],
        "settings_sha256": settings_digest(settings),
        "vocabulary": {
            "name": vocabulary.name,
            "templates": vocabulary.templates and list(vocabulary.templates),
        },
        "semantic_ignore_value": ignore_value(len(vocabulary)),
        "pictures": [_picture(id_, *result) for id_, result in zip(ids, results, strict=True)],
        "classes": [
            {"index": number, "category_id": category.pop("id"), **category}
            for number, category in enumerate(categories(vocabulary))
        ],
    }
    write_json(folder / INDEX, index, indent=1)


def _picture(image_id: int, item: Item, result: Record | Failure) -> Json:
    if isinstance(result, Failure):
        return {"input": str(item.path), "image_id": image_id, "error": str(result)}
    return {
        "input": str(item.path),
        "image_id": image_id,
        "height": result.size[0],
        "width": result.size[1],
        "files": dict(result.files),
        "seconds": result.seconds,
        "stages": dict(result.stages),
        "segments": None if result.segments is None else len(result.segments),
        "instances": result.instances,
    }


def _panoptic(done: Sequence[tuple[int, Record]]) -> Iterator[Json]:
    for image_id, record in done:
        name = Path(record.files["panoptic"]).name
        yield {"image_id": image_id, "file_name": name, "segments_info": record.segments}


def _instances(folder: Path, done: Sequence[tuple[int, Record]]) -> Iterator[Json]:
    number = 0
    for image_id, record in done:
        path = folder / record.files["instances"]
        try:
            annotations = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{path} was written by this run or an earlier one and cannot be read now ({error}). "
                "Run the same command again, or with resume=false."
            ) from error
        for annotation in annotations:
            number += 1
            yield {"id": number, "image_id": image_id, **annotation, "iscrowd": 0}
