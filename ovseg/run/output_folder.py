"""The folder that a prediction run writes: what is finished in it, and with which settings.

    settings.json         what the results depend on; a run with other settings is refused
    overlay/NAME.png      the picture with its segments and a legend
    semantic/NAME.png     class index per pixel (255, or 65535 with more than 255 classes, where none)
    panoptic/NAME.png     COCO's panoptic PNG
    instances/NAME.json   COCO results of the picture
    records/NAME.json     written last: the picture is finished
    panoptic.json, instances.json, predictions.json    over all pictures, written at the end

Every file is moved into place whole, and the record of a picture comes after its results, so a run that is
killed at any moment can be repeated and goes on with the first picture that has no record.
"""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ovseg.data.find import output_stems
from ovseg.errors import OutputError
from ovseg.report.files import TEMPORARY, output_error, write_file, write_json
from ovseg.run.results import SUFFIX

logger = logging.getLogger(__name__)

KINDS = tuple(SUFFIX)
PANOPTIC_INDEX, INSTANCE_INDEX, INDEX = "panoptic.json", "instances.json", "predictions.json"
INDICES = (PANOPTIC_INDEX, INSTANCE_INDEX, INDEX)
_RECORDS = "records"
_SETTINGS = "settings.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class Record:
    """What is kept of a finished picture.

    Attributes:
        input: absolute path of the picture.
        stamp: its size in bytes and its time of change, to notice another picture of the same name.
        stem: name of its results without suffix.
        size: (height, width) in pixels.
        files: kind of result -> path relative to the folder.
        seconds: that the method took for it.
        stages: the method's own measurements, stage name -> seconds.
        segments: COCO's segments_info; None without the panoptic task.
        instances: how many; None without the instance task.
    """

    input: str
    stamp: tuple[int, int]
    stem: str
    size: tuple[int, int]
    files: Mapping[str, str]
    seconds: float
    stages: Mapping[str, float]
    segments: Sequence[Mapping[str, Any]] | None
    instances: int | None

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Record":
        """Undo `dataclasses.asdict` and JSON."""
        fields = dict(content)
        for name in ("stamp", "size"):
            first, second = fields[name]
            fields[name] = (first, second)
        return Record(**fields)


@dataclass(frozen=True)
class Item:
    """One picture of a run: its path, the name of its results, and its record if it is finished."""

    path: Path
    stem: str
    record: Record | None


class OutputFolder:
    """The folder of one run; made by `open_output`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def plan(self, inputs: Sequence[Path]) -> list[Item]:
        """Name the results of each picture and look up which are finished; records keep their names."""
        records = {record.input: record for record in self._records()}
        stems = output_stems(inputs, {path: record.stem for path, record in records.items()})
        items = []
        for path, stem in zip(inputs, stems, strict=True):
            record = records.get(os.path.abspath(path))
            items.append(Item(path, stem, record if record and self._is_finished(record) else None))
        return items

    def save(self, item: Item, files: Mapping[str, bytes], record: Record) -> None:
        """Write the results of a picture (kind -> content), then its record.

        Raises:
            OutputError: something cannot be written.
        """
        for kind, content in files.items():
            write_file(self.path / record.files[kind], content)
        write_json(self.path / _RECORDS / f"{item.stem}.json", dataclasses.asdict(record))

    def clear(self) -> None:
        """Remove the results of earlier runs: the files that their records name and the indices over them."""
        for record in self._records():
            for name in record.files.values():
                if name.split("/")[0] in KINDS and ".." not in name.split("/"):
                    (self.path / name).unlink(missing_ok=True)
            (self.path / _RECORDS / f"{record.stem}.json").unlink(missing_ok=True)
        if (self.path / _SETTINGS).exists():
            for name in INDICES:
                (self.path / name).unlink(missing_ok=True)

    def _records(self) -> Iterator[Record]:
        for path in sorted((self.path / _RECORDS).glob("*.json")):
            record = _read_record(path)
            if record is not None:
                yield record

    def _is_finished(self, record: Record) -> bool:
        try:
            unchanged = stamp(Path(record.input)) == record.stamp
        except OSError:
            return False
        return unchanged and all((self.path / name).is_file() for name in record.files.values())


def _read_record(path: Path) -> Record | None:
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("The record %s cannot be read (%s), so its picture is done again.", path, error)
        return None


@contextmanager
def open_output(path: Path, settings: Mapping[str, Any], *, resume: bool) -> Iterator[OutputFolder]:
    """Make or reopen an output folder and keep other runs out of it for the time of the block.

    Args:
        path: of the folder.
        settings: all that the results depend on, as JSON values.
        resume: keep what earlier runs with the same settings finished; False removes it first.

    Raises:
        OutputError: it cannot be written to, another run is writing to it, or `resume` is asked for and it
            holds results of other settings.
    """
    folder = OutputFolder(path)
    settings = json.loads(json.dumps(settings))  # as they come back from the file: lists for tuples
    try:
        for kind in (*KINDS, _RECORDS):
            (path / kind).mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / _LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"Another run is writing to {path}. Wait until it has ended, or choose another with output=DIR."
        ) from None
    except OSError as error:
        raise output_error(path, error) from error
    try:
        _begin(folder, settings, resume=resume)
        yield folder
    finally:
        lock.release()
        for kind in KINDS:  # results that were not asked for leave no empty folder
            with suppress(OSError):
                (path / kind).rmdir()


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings: equal digests mean results that belong together."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds.

    Raises:
        OSError: the file is not there.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _begin(folder: OutputFolder, settings: Mapping[str, Any], *, resume: bool) -> None:
    file = folder.path / _SETTINGS
    try:
        for place in (folder.path, *(folder.path / kind for kind in (*KINDS, _RECORDS))):
            for rubbish in place.glob(TEMPORARY.format("*")):
                rubbish.unlink(missing_ok=True)
        if not resume:
            folder.clear()
    except OSError as error:
        raise output_error(folder.path, error) from error
    if resume and file.exists():
        refuse_other_settings(file, settings)
    write_json(file, dict(settings), indent=1)


def refuse_other_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """Compare settings with those that a folder was made with.

    Args:
        file: where those are.
        settings: of this run, as JSON values.

    Raises:
        OutputError: they differ, or the file cannot be read; says in which keys.
    """
    try:
        earlier = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{file} cannot be read ({error}), so nobody knows what the results beside it were made with. "
            "Choose another folder with output=DIR, or start afresh in this one with resume=false."
        ) from error
    if settings_digest(earlier) == settings_digest(settings):
        return
    before, now = _flat(earlier), _flat(settings)
    changed = [
        f"  {key}: {_show(before, key)} -> {_show(now, key)}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    raise OutputError(
        f"{file.parent} holds results of other settings, and results of two kinds are not mixed:\n"
        + "\n".join(changed)
        + "\nChoose another folder with output=DIR, or remove the old results with resume=false."
    )


def _flat(value: object, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _show(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "(not set)"
