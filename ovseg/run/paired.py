"""Differences between two runs over the same pictures, from the records that both have stored."""

from collections.abc import Sequence
from typing import Any

from ovseg.build import build_component
from ovseg.evaluation.bootstrap import difference_intervals, point_values
from ovseg.evaluation.record_metric import RecordMetric
from ovseg.evaluation.subject import Subject
from ovseg.report.comparison import Difference
from ovseg.run.run_folder import Run
from ovseg.vocabulary import ClassEntry, Vocabulary


def stored_vocabulary(run: Run) -> Vocabulary:
    """The data set's classes as a run has stored them, without synonyms, ids and colours."""
    metrics = run.metrics
    entries = zip(metrics["classes"], metrics["is_thing"], strict=True)
    return Vocabulary(
        str(metrics["protocol"]["dataset"]["name"]),
        tuple(ClassEntry((str(name),), bool(is_thing)) for name, is_thing in entries),
    )


def stored_evaluator(run: Run, evaluator: str) -> RecordMetric | None:
    """The evaluator that a run was measured with, built anew; None if it gives no tally (a plugin's may not).

    Raises:
        ConfigError: this version does not know it, or not its arguments.
    """
    arguments: dict[str, Any] = dict(run.metrics["protocol"]["evaluators"].get(evaluator, {}))
    arguments.pop("rules", None)
    node = {"name": evaluator, **arguments}
    is_seen = tuple(bool(seen) for seen in run.metrics["is_seen"])
    subject = Subject(stored_vocabulary(run), is_seen)
    made = build_component("evaluators", node, [subject], path=f"{run.path}: evaluators.{evaluator}")
    return made if isinstance(made, RecordMetric) else None


def common_pictures(runs: Sequence[Run]) -> list[str]:
    """Keys of the pictures that no run failed on, in the first run's order."""
    shared = set.intersection(*({line.key for line in run.lines if line.error is None} for run in runs))
    return [line.key for line in runs[0].lines if line.key in shared]


def paired_differences(
    run: Run, baseline: Run, evaluator: str, keys: Sequence[str], *, resamples: int
) -> dict[str, Difference]:
    """Metric -> the run's value minus the baseline's, of the values that both have.

    Args:
        run: that is asked about.
        baseline: what it is compared with; measured by the same rules.
        evaluator: that both were measured with.
        keys: the pictures to take, which both have.
        resamples: of the bootstrap; both runs get the same draws. 0 gives no intervals.

    Raises:
        DataError: the records are absent or damaged.
    """
    tallies = []
    for each in (run, baseline):
        metric = stored_evaluator(each, evaluator)
        if metric is None or not keys:
            return {}
        records = each.records(evaluator)
        tallies.append(metric.tally([records[key] for key in keys]))
    ours, theirs = (point_values(tally) for tally in tallies)
    intervals = difference_intervals(*tallies, resamples=resamples)
    differences = {name: value - theirs[name] for name, value in ours.items() if name in theirs}
    return {
        name: Difference(value, _defined(intervals.get(name)))
        for name, value in differences.items()
        if value == value  # NaN: not defined for one of them
    }


def _defined(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return interval if interval is not None and interval[0] == interval[0] else None
