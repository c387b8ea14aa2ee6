"""Pictures in, files out: load, predict in batches of one size, write; a killed run can be resumed."""

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ovseg.data.images import read_image
from ovseg.errors import ConfigError, DataError
from ovseg.interfaces import Method
from ovseg.progress import Advance, progress
from ovseg.run.attempt import attempt, out_of_memory
from ovseg.run.index import write_indices
from ovseg.run.output_folder import KINDS, Item, OutputFolder, Record, open_output, stamp
from ovseg.run.pipeline import ahead, behind, groups_of_one_kind
from ovseg.run.results import SUFFIX, encode_results
from ovseg.run.summary import Failure, PredictSummary
from ovseg.types import TASKS, Image, Prediction, Task, checked_tasks
from ovseg.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_LOOK_AHEAD = 4
"""Batches' worth of pictures that may wait in memory for others of their size."""


@dataclass(frozen=True)
class _Job:
    """What is the same for all pictures of a run."""

    method: Method
    vocabulary: Vocabulary
    tasks: tuple[Task, ...]
    overlay: bool
    folder: OutputFolder


@dataclass(frozen=True)
class _Loaded:
    """A picture in memory; `stamp` is of its file at the time of reading."""

    item: Item
    image: Image
    stamp: tuple[int, int]


def predict_files(
    method: Method,
    vocabulary: Vocabulary,
    *,
    inputs: Sequence[Path],
    output: Path,
    tasks: Sequence[Task] = TASKS,
    batch_size: int = 1,
    resume: bool = True,
    overlay: bool = True,
    method_settings: Mapping[str, Any] = MappingProxyType({}),
) -> PredictSummary:
    """Segment pictures and write the results; see `ovseg.run.output_folder` for the files.

    A picture that cannot be read or predicted is logged and skipped. A run that was killed goes on where it
    stopped when it is started again; Ctrl-C leaves everything whole that was finished. The indices over all
    pictures (`predictions.json`, `panoptic.json`, `instances.json`) list the pictures of this call, in order.

    Args:
        method: prepared, with weights.
        vocabulary: the classes to look for.
        inputs: the pictures, as `ovseg.data.find.find_images` gives them; results of an earlier run into the
            same folder are left out.
        output: the folder for the results; made if it is not there.
        tasks: which views to write.
        batch_size: pictures of one size to predict at once.
        resume: keep what earlier runs with the same settings finished; False removes it first.
        overlay: also draw the segments over the picture.
        method_settings: what else the results depend on, as JSON values: the method's config, its weights.

    Raises:
        ConfigError: no or unknown tasks, or a batch size below 1.
        OutputError: the folder cannot be written, is in use, or holds results of other settings.
        VocabularyError: the method cannot use the vocabulary.
    """
    start = time.monotonic()
    ordered = checked_tasks(tasks)
    if batch_size < 1:
        raise ConfigError(f"Got batch_size={batch_size}. It must be 1 or more.")
    settings = _settings(vocabulary, ordered, overlay, method_settings)
    with open_output(output, settings, resume=resume) as folder:
        items = folder.plan(_without_own_results(inputs, output))
        todo = [item for item in items if item.record is None]
        outcomes: dict[str, Record | Failure] = {item.stem: item.record for item in items if item.record}
        with progress("Predicting", len(todo), "pictures") as advance:
            job = _Job(method, vocabulary, ordered, overlay, folder)
            _predict_all(job, todo, batch_size, outcomes, advance)
        results = [(item, outcomes[item.stem]) for item in items]
        write_indices(output, vocabulary, settings, results)
    return _summary(output, items, outcomes, time.monotonic() - start)


def _without_own_results(inputs: Sequence[Path], output: Path) -> list[Path]:
    """The inputs once each, without the results of an earlier run that a search of a folder has found."""
    results = [os.path.join(os.path.abspath(output), kind, "") for kind in KINDS]
    kept = [path for path in inputs if not os.path.abspath(path).startswith(tuple(results))]
    if len(kept) < len(inputs):
        logger.warning("%d inputs are results in %s and are left out.", len(inputs) - len(kept), output)
    return list(dict.fromkeys(kept))


def _settings(
    vocabulary: Vocabulary, tasks: Sequence[Task], overlay: bool, method_settings: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the results depend on."""
    classes = json.dumps(dataclasses.asdict(vocabulary), ensure_ascii=False)
    return {
        "ovseg": version("ovseg"),
        "method": dict(method_settings),
        "vocabulary": {
            "name": vocabulary.name,
            "classes": len(vocabulary),
            "sha256": hashlib.sha256(classes.encode()).hexdigest(),
        },
        "tasks": list(tasks),
        "overlay": overlay,
    }


def _predict_all(
    job: _Job, todo: Sequence[Item], batch_size: int, outcomes: dict[str, Record | Failure], advance: Advance
) -> None:
    """Fill `outcomes` (by stem) while one thread loads ahead and one writes behind."""

    def finish(item: Item, outcome: Record | Failure) -> None:
        if isinstance(outcome, Failure):
            logger.warning("Skipped: %s", outcome)
        outcomes[item.stem] = outcome
        advance(1)

    def readable(loaded: Iterable[_Loaded | tuple[Item, Failure]]) -> Iterator[_Loaded]:
        for one in loaded:
            if isinstance(one, _Loaded):
                yield one
            else:
                finish(*one)

    pictures = readable(ahead(_load, todo, depth=batch_size))
    batches = groups_of_one_kind(pictures, lambda one: one.image.shape, batch_size, _LOOK_AHEAD * batch_size)
    with behind(depth=2 * batch_size) as submit:
        for batch in batches:
            for loaded, outcome, seconds in _predict_batch(job, batch):
                if isinstance(outcome, Failure):
                    finish(loaded.item, outcome)
                else:
                    submit(partial(_save, job, loaded, outcome, seconds, finish))


def _load(item: Item) -> _Loaded | tuple[Item, Failure]:
    try:
        return _Loaded(item, read_image(item.path), stamp(item.path))
    except DataError as error:
        return item, Failure(item.path, str(error))
    except OSError as error:  # it was removed while it was read
        return item, Failure(item.path, f"{item.path} does not exist any more: {error.strerror}.")


def _predict_batch(
    job: _Job, batch: Sequence[_Loaded]
) -> Iterator[tuple[_Loaded, Prediction | Failure, float]]:
    """Per picture the prediction or why there is none, and the seconds it took; a bad picture fails alone."""
    start = time.monotonic()
    predictions, reason = attempt(job.method, [loaded.image for loaded in batch], job.vocabulary, job.tasks)
    seconds = (time.monotonic() - start) / len(batch)
    if reason is None:
        yield from ((loaded, one, seconds) for loaded, one in zip(batch, predictions, strict=True))
    elif len(batch) == 1:
        yield batch[0], Failure(batch[0].item.path, reason), seconds
    else:
        for loaded in batch:
            yield from _predict_batch(job, [loaded])


def _save(
    job: _Job,
    loaded: _Loaded,
    prediction: Prediction,
    seconds: float,
    finish: Callable[[Item, Record | Failure], None],
) -> None:
    """Write the results of one picture, then its record."""
    try:
        results = encode_results(loaded.image, prediction, job.tasks, overlay=job.overlay)
    except MemoryError:
        finish(loaded.item, Failure(loaded.item.path, out_of_memory(loaded.image, job.vocabulary)))
        return
    stem = loaded.item.stem
    record = Record(
        input=os.path.abspath(loaded.item.path),
        stamp=loaded.stamp,
        stem=stem,
        size=prediction.image_size,
        files={kind: f"{kind}/{stem}.{SUFFIX[kind]}" for kind in results.files},
        seconds=seconds,
        stages=dict(prediction.seconds),
        segments=results.segments,
        instances=results.instances,
    )
    job.folder.save(loaded.item, results.files, record)
    finish(loaded.item, record)


def _summary(
    output: Path, items: Sequence[Item], outcomes: Mapping[str, Record | Failure], seconds: float
) -> PredictSummary:
    results = [(item, outcomes[item.stem]) for item in items]
    new = [result for item, result in results if item.record is None and isinstance(result, Record)]
    return PredictSummary(
        output=output,
        done=len(new),
        resumed=sum(item.record is not None for item in items),
        failed=tuple(result for _, result in results if isinstance(result, Failure)),
        seconds=seconds,
        seconds_per_picture=sum(record.seconds for record in new) / len(new) if new else None,
    )
