"""Which columns a comparison has: numbers by different rules never share one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovseg.report.comparison import Column, Note
from ovseg.run.protocols import rule_differences, rules
from ovseg.run.run_folder import Run

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "panoptic_quality": ("PQ", "SQ", "RQ", "PQ/things", "PQ/stuff", "PQ/seen", "PQ/unseen"),
    "average_precision": ("AP", "AP50", "AP/seen", "AP/unseen"),
    "cityscapes_ap": ("AP", "AP50", "AP/seen", "AP/unseen"),
    "mean_iou": ("mIoU", "mIoU/mmseg", "mIoU/seen", "mIoU/unseen"),
}
"""Evaluator -> what papers report of it, in their order. The numbers of others are all shown."""

_OTHER_CONVENTION = "mIoU/mmseg"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Source:
    """A column and where its numbers are: row -> index of the run."""

    column: Column
    runs: tuple[int, ...]


class Notes:
    """Gives equal texts one letter."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, text: str) -> str:
        count = len(self._marks)
        letter = _LETTERS[count % 26] * (1 + count // 26)
        return self._marks.setdefault(text, letter)

    def all(self) -> list[Note]:
        return [Note(mark, text) for text, mark in self._marks.items()]


def columns_of(runs: Sequence[Run], base: int, names: Sequence[str], notes: Notes) -> list[Source]:
    """The columns. What two runs measured by different rules goes into different columns, with a note."""
    evaluators = list(dict.fromkeys(name for run in runs for name in in_order(run.metrics["scores"])))
    metrics = {evaluator: _metrics(runs, evaluator) for evaluator in evaluators}
    sources = []
    for evaluator in evaluators:
        for metric, is_headline in metrics[evaluator].items():
            is_shared = sum(metric in others for others in metrics.values()) > 1
            title = f"{metric} ({evaluator})" if is_shared else metric
            having = [i for i, run in enumerate(runs) if metric in values_of(run, evaluator)]
            first = base if base in having else having[0]
            groups: dict[str, list[int]] = {}
            for index in sorted(having, key=lambda index: index != first):
                groups.setdefault(rules(runs[index], evaluator, metric), []).append(index)
            for number, group in enumerate(groups.values()):
                full = title
                if number:
                    how = rule_differences(runs[group[0]], runs[first], evaluator, metric)
                    full += " " + _raised(notes.mark(f"By other rules than for {names[first]}: {how}."))
                column = Column(full, metric, evaluator, is_headline)
                sources.append(Source(column, tuple(sorted(group))))
    return sorted(sources, key=lambda source: not source.column.is_headline)


def in_order(scores: Mapping[str, Any]) -> list[str]:
    """Evaluators in the order in which papers print them; JSON has sorted them."""
    known = list(HEADLINES)
    return sorted(scores, key=lambda name: (known.index(name) if name in known else len(known), name))


def _metrics(runs: Sequence[Run], evaluator: str) -> dict[str, bool]:
    """Metric -> whether it is a headline, headlines first."""
    found = dict.fromkeys(metric for run in runs for metric in values_of(run, evaluator))
    headlines = HEADLINES.get(evaluator, tuple(found))
    ordered = sorted(
        found, key=lambda metric: headlines.index(metric) if metric in headlines else len(headlines)
    )
    return {
        metric: metric in headlines and not (metric == _OTHER_CONVENTION and _says_no_more(runs, evaluator))
        for metric in ordered
    }


def _says_no_more(runs: Sequence[Run], evaluator: str) -> bool:
    """Whether both conventions of mIoU give the same in every run."""
    values = [values_of(run, evaluator) for run in runs]
    return all(value.get("mIoU") == value.get(_OTHER_CONVENTION) for value in values)


def values_of(run: Run, evaluator: str) -> dict[str, float]:
    """Metric -> value, without what is not defined."""
    values = run.metrics["scores"].get(evaluator, {}).get("values", {})
    return {metric: float(value) for metric, value in values.items() if value is not None}


def _raised(mark: str) -> str:
    """A letter of a note as it stands in titles."""
    return f"({mark})"
