"""Records of all pictures to numbers, and the numbers to `metrics.json`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovseg.interfaces import Evaluator
from ovseg.report.files import write_file
from ovseg.run.run_folder import PictureLine
from ovseg.types import Scores


@dataclass(frozen=True)
class Numbers:
    """What all records say together.

    Attributes:
        scores: by evaluator.
        used: pictures that count.
        skipped: key -> why it was left out.
        seconds: means over pictures, those left out with which a process began: ``method``, ``evaluation``
            and ``stages``; None without any.
    """

    scores: Mapping[str, Scores]
    used: int
    skipped: Mapping[str, str]
    seconds: Mapping[str, Any] | None


def add_up(lines: Sequence[PictureLine], evaluators: Mapping[str, Evaluator]) -> Numbers:
    """Add the records of all pictures up; the evaluators must be fresh."""
    good = [line for line in lines if line.error is None]
    scores = {}
    if good:
        for name, evaluator in evaluators.items():
            for line in good:
                evaluator.update(line.records[name])
            scores[name] = evaluator.compute()
    skipped = {line.key: line.error for line in lines if line.error is not None}
    return Numbers(scores, len(good), skipped, _mean_seconds(good))


def scores_json(scores: Scores) -> dict[str, Any]:
    """As it stands in the file; `order` is the evaluator's own, headline first. NaN is null."""
    return {
        "order": list(scores.values),
        "values": {name: _number(value) for name, value in scores.values.items()},
        "per_class": {
            name: [_number(value) for value in values] for name, values in scores.per_class.items()
        },
        "intervals": {name: [_number(low), _number(high)] for name, (low, high) in scores.intervals.items()},
    }


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Put the file in its place in one step; equal metrics give equal bytes.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(metrics, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_file(path, (text + "\n").encode())


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean_seconds(lines: Sequence[PictureLine]) -> dict[str, Any] | None:
    """A process's first picture pays for what is made once; it only counts where there is no other."""
    counted = [line.seconds for line in lines if line.seconds["warm"]] or [line.seconds for line in lines]
    if not counted:
        return None
    stages = {name for seconds in counted for name in seconds["stages"]}
    mean = {
        key: math.fsum(seconds[key] for seconds in counted) / len(counted) for key in ("method", "evaluation")
    }
    of_stages = {
        name: math.fsum(seconds["stages"].get(name, 0.0) for seconds in counted) / len(counted)
        for name in sorted(stages)
    }
    return {**mean, "stages": of_stages}
