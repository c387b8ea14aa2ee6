"""Whether the numbers of several runs may stand beside each other, and what to say where they differ.

Runs over other data are refused. Other pictures or other words for the classes make a note at the run: words
may well be what a method is published with. Other rules of an evaluator make another metric, which gets a
column of its own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ovseg.errors import ConfigError, DataError
from ovseg.run.run_folder import Run

_LABELS = {
    "dataset.split": "split",
    "dataset.pictures": "count of pictures",
    "tasks": "views that the method was asked for",
    "vocabulary.name": "vocabulary",
    "vocabulary.names": "names of the classes",
    "vocabulary.templates": "prompt templates",
    "vocabulary.templates_sha256": "prompt templates",
}
_TITLES = {
    "panoptic_quality": "Panoptic quality",
    "average_precision": "Average precision",
    "cityscapes_ap": "Average precision (Cityscapes)",
    "mean_iou": "Mean IoU",
}
# Said already by other keys, or by the counts of pictures.
_IMPLIED = ("vocabulary.sha256", "dataset.keys_sha256")
_NO_RULE = ("resamples",)
"""Arguments of evaluators that change no number but intervals."""


def unique_names(runs: Sequence[Run]) -> list[str]:
    """A name per run; runs of one name get as much of their path as tells them apart.

    Raises:
        ConfigError: a folder is there twice.
    """
    places = [run.path.resolve() for run in runs]
    twice = next((run.path for index, run in enumerate(runs) if places[index] in places[:index]), None)
    if twice is not None:
        raise ConfigError(f"The run {twice} is named twice. Name each run once.")
    names = [run.name for run in runs]
    depth = 1
    while len(set(names)) < len(names):
        depth += 1
        repeated = {name for name in names if names.count(name) > 1}
        names = [
            "/".join(place.parts[-depth:]) if name in repeated else name
            for name, place in zip(names, places, strict=True)
        ]
    return names


def check_same_data(runs: Sequence[Run], names: Sequence[str]) -> None:
    """Refuse runs whose labels mean different things.

    Raises:
        DataError: they are of different data sets or lists of classes; says what to do.
    """
    first = runs[0].metrics
    for run, name in zip(runs[1:], names[1:], strict=True):
        ours, theirs = (str(m["protocol"]["dataset"]["name"]) for m in (first, run.metrics))
        if ours != theirs:
            raise DataError(
                f"'{names[0]}' was evaluated on {ours}, '{name}' on {theirs}. Numbers of different data sets "
                "cannot be compared: evaluate all methods on one, with ovseg compare models=[...] "
                f"dataset={ours}."
            )
        for key, what in (("classes", "names"), ("is_thing", "things and stuff")):
            if list(first[key]) != list(run.metrics[key]):
                raise DataError(
                    f"'{names[0]}' and '{name}' were both evaluated on {ours}, but on different classes "
                    f"({len(first['classes'])} and {len(run.metrics['classes'])}, or other {what}). Evaluate "
                    "both with the same version and the same settings of the data set."
                )


def rules(run: Run, evaluator: str, metric: str = "") -> str:
    """What decides a metric besides pictures and classes; equal texts mean equal rules."""
    arguments = {key: value for key, value in _arguments(run, evaluator).items() if key not in _NO_RULE}
    return json.dumps([arguments, _seen(run, metric)], sort_keys=True)


def rule_differences(run: Run, other: Run, evaluator: str, metric: str) -> str:
    """How the rules of a metric differ from another run's, in words."""
    ours, theirs = _arguments(run, evaluator), _arguments(other, evaluator)
    keys = [
        key for key in sorted({*ours, *theirs}) if key not in _NO_RULE and ours.get(key) != theirs.get(key)
    ]
    said = [f"{key}={_show(ours.get(key))} instead of {_show(theirs.get(key))}" for key in keys]
    if _seen(run, metric) != _seen(other, metric):
        said.append("other classes were seen in training")
    return "; ".join(said)


def _seen(run: Run, metric: str) -> list[bool] | None:
    """Which classes were seen in training, where a metric is over those or over the others; else None."""
    by_training = metric.endswith(("/seen", "/unseen", "/harmonic"))
    return [bool(seen) for seen in run.metrics["is_seen"]] if by_training else None


def word_differences(run: Run, baseline: Run) -> list[str]:
    """How a run's data and words differ from the baseline's, in words, one difference each."""
    ours, theirs = (
        _flat({key: value for key, value in each.metrics["protocol"].items() if key != "evaluators"})
        for each in (run, baseline)
    )
    found = [
        f"{_LABELS.get(key, key)} ({_show(ours.get(key))} instead of {_show(theirs.get(key))})"
        for key in sorted({*ours, *theirs})
        if key not in _IMPLIED and ours.get(key) != theirs.get(key)
    ]
    if not found and ours != theirs:
        found = [
            "other pictures"
            if ours.get("dataset.keys_sha256") != theirs.get("dataset.keys_sha256")
            else "other names of classes"
        ]
    return found


def said_protocol(run: Run) -> tuple[tuple[str, str], ...]:
    """A run's protocol for people: (what, how)."""
    protocol = run.metrics["protocol"]
    dataset, vocabulary = protocol["dataset"], protocol.get("vocabulary", {})
    lines = [("Data set", dataset_text(run)), ("Classes", str(len(run.metrics["classes"])))]
    if vocabulary.get("name"):
        names = f", names: {vocabulary['names']}" if vocabulary.get("names") else ""
        lines.append(("Vocabulary", f"{vocabulary['name']}{names}"))
    lines.append(("Pictures", str(run.metrics["pictures"].get("used", dataset.get("pictures", "")))))
    for evaluator in run.metrics["scores"]:
        text = _arguments(run, evaluator).get("rules") or ", ".join(
            f"{key}={_show(value)}" for key, value in _arguments(run, evaluator).items()
        )
        lines.append((_TITLES.get(evaluator, evaluator), str(text)))
    return tuple((what, how) for what, how in lines if how)


def dataset_text(run: Run) -> str:
    """The data set and its split."""
    dataset = run.metrics["protocol"]["dataset"]
    return f"{dataset['name']} ({dataset['split']})" if dataset.get("split") else str(dataset["name"])


def _arguments(run: Run, evaluator: str) -> dict[str, Any]:
    return dict(run.metrics["protocol"]["evaluators"].get(evaluator, {}))


def _flat(value: object, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _show(value: object) -> str:
    """A value for people; of a digest, which nobody reads, the beginning."""
    if isinstance(value, list):
        return ", ".join(map(_show, value))
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:8] if is_digest else text
