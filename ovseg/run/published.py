"""Numbers that others have published, for the settings that they were published with."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

Published = dict[str, dict[str, Any]]
"""Metric -> ``value``, ``source`` and the ``evaluator`` that it is compared with."""


def published_row(model: str, dataset: str) -> Mapping[str, Any] | None:
    """What is known of a config of the group ``model`` on one of the group ``dataset``.

    Returns:
        ``source``, ``names`` (of the classes, as of a built-in list) and ``values`` by evaluator and metric;
        None if nothing is.
    """
    row: Mapping[str, Any] | None = _table().get(model, {}).get(dataset)
    return row


def comparable(row: Mapping[str, Any], evaluators: Sequence[str]) -> Published:
    """The values of a row that these evaluators also give."""
    return {
        metric: {"value": value, "source": row["source"], "evaluator": evaluator}
        for evaluator, values in row["values"].items()
        if evaluator in evaluators
        for metric, value in values.items()
    }


@cache
def _table() -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(
        files("ovseg.run").joinpath("published.json").read_text(encoding="utf-8")
    )
    return content
