"""Reading what ``ovseg evaluate`` has written: the folder of one run.

    metrics.json       the numbers, the protocol and the method; written last: the run is finished
    per_image.jsonl    one line per picture in the data set's order: its records, or why it was left out
    config.yaml        the composed config
    settings.json      what the records depend on; a run with other settings is refused
    report.md          the numbers for people
    predictions/       on request: semantic/KEY.png, panoptic/KEY.png, panoptic.json, instances.json

While a run goes on, each process appends to ``per_image.RANK.jsonl``; the lines come together at the end.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ovseg.errors import DataError

METRICS, RECORDS, CONFIG, SETTINGS = "metrics.json", "per_image.jsonl", "config.yaml", "settings.json"
REPORT, PREDICTIONS = "report.md", "predictions"
SHARDS = "per_image.*.jsonl"
FORMAT = 1
"""Of `METRICS`; another number means that older readers would misunderstand it."""

_KEYS = ("name", "protocol", "method", "environment", "pictures", "scores", "classes", "time")


@dataclass(frozen=True)
class PictureLine:
    """What a run says of one picture.

    Attributes:
        index: of the picture in the data set.
        key: its name there.
        records: evaluator -> its record; empty if the picture failed.
        seconds: ``method``, ``evaluation`` and ``stages``, what they took; empty if the picture failed.
        error: why it was left out; None if it was not.
    """

    index: int
    key: str
    records: Mapping[str, Any]
    seconds: Mapping[str, Any]
    error: str | None = None

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "PictureLine":
        """Undo `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is no such line.
        """
        if "error" in line:
            return cls(int(line["index"]), str(line["key"]), {}, {}, str(line["error"]))
        return cls(int(line["index"]), str(line["key"]), dict(line["records"]), dict(line["seconds"]))

    def to_json(self) -> dict[str, Any]:
        """The line's plain values."""
        head: dict[str, Any] = {"index": self.index, "key": self.key}
        if self.error is not None:
            return {**head, "error": self.error}
        return {**head, "records": self.records, "seconds": self.seconds}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        metrics: what `METRICS` holds.
    """

    path: Path
    metrics: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What to call it beside others."""
        return str(self.metrics["name"])

    @property
    def predictions(self) -> Path | None:
        """The folder of its predictions, None if they were not kept."""
        folder = self.path / PREDICTIONS
        return folder if folder.is_dir() else None

    @cached_property
    def lines(self) -> tuple[PictureLine, ...]:
        """Every picture in the data set's order; read at the first use.

        Raises:
            DataError: the file of records is absent or damaged.
        """
        return tuple(read_lines(self.path / RECORDS))

    def records(self, evaluator: str) -> Mapping[str, Any]:
        """Key of the picture -> record of an evaluator, in the data set's order, failed pictures left out.

        Raises:
            DataError: the run has no such evaluator, or the file of records is absent or damaged.
        """
        if evaluator not in self.metrics["scores"]:
            raise DataError(
                f"{self.path} was not evaluated with '{evaluator}', only with "
                f"{', '.join(self.metrics['scores'])}. Evaluate again with evaluator=[{evaluator}] and "
                "another output=DIR."
            )
        return {line.key: line.records[evaluator] for line in self.lines if line.error is None}


def read_run(path: Path) -> Run:
    """The finished run in a folder.

    Raises:
        DataError: there is none, it is not finished, or its files are damaged or of another version.
    """
    file = path / METRICS
    if not file.is_file():
        raise DataError(_why_no_run(path))
    try:
        metrics = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}). {_AGAIN}") from error
    if not isinstance(metrics, dict) or metrics.get("format") != FORMAT:
        found = metrics.get("format") if isinstance(metrics, dict) else None
        raise DataError(
            f"{file} has format {found}, this ovseg reads {FORMAT}. Evaluate again with this version, or use "
            "the one that wrote it."
        )
    missing = [key for key in _KEYS if key not in metrics]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}. {_AGAIN}")
    return Run(path, metrics)


def read_lines(path: Path, *, unfinished: bool = False) -> Iterator[PictureLine]:
    """The lines of a file of records.

    Args:
        path: of the file.
        unfinished: whether a killed process may have written it: a last line without its end is left out.

    Raises:
        DataError: the file cannot be read, or a line is damaged; says which.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. {_AGAIN}") from error
    whole, _, rest = content.rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    if rest and not unfinished:
        lines.append(rest)
    for number, line in enumerate(lines, start=1):
        yield _line(path, number, line)


def _line(path: Path, number: int, line: bytes) -> PictureLine:
    try:
        return PictureLine.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: line {number} is damaged ({type(error).__name__}: {error}). Remove that line and run "
            "the same 'ovseg evaluate' again: its picture is then evaluated anew."
        ) from error


_AGAIN = "Run the same 'ovseg evaluate' again; it goes on where it stopped."


def _why_no_run(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist. A run folder is what 'ovseg evaluate' writes: runs/DATASET/MODEL."
    if any(path.glob(SHARDS)) or (path / RECORDS).exists() or (path / SETTINGS).exists():
        return f"{path} holds a run that is not finished. {_AGAIN}"
    inside = sorted(file.parent for file in path.glob(f"*/{METRICS}"))
    if inside:
        listed = ", ".join(map(str, inside[:5]))
        return f"{path} is no run folder, but holds some: {listed}. Name those."
    return f"{path} has no {METRICS}, so it is no run folder. 'ovseg evaluate' makes them."
