"""Numbers that others have published, for the settings that they were published with."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from ovseg.config import compose_config, strict
from ovseg.schema import EvaluateConfig

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


def published_for(
    settings: EvaluateConfig, model: str, dataset: str, *, names: str | None, evaluators: Sequence[str]
) -> Published:
    """The published values of a config, if a run has the settings that they were published with.

    Args:
        settings: of the run; the precision may be another one.
        model: the option of this group that it was composed from.
        dataset: the same.
        names: the variant of the built-in list that the method is told.
        evaluators: of the run.
    """
    row = published_row(model, dataset)
    if row is None or settings.limit is not None or names != row["names"]:
        return {}
    official = strict(compose_config("evaluate", [f"model={model}", f"dataset={dataset}"]), EvaluateConfig)
    same = (
        official.model == settings.model
        and official.dataset.get("split") == settings.dataset.get("split")
        and official.vocabulary == settings.vocabulary
        and official.tasks == settings.tasks
    )
    return comparable(row, evaluators) if same else {}


@cache
def _table() -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(
        files("ovseg.run").joinpath("published.json").read_text(encoding="utf-8")
    )
    return content
