"""The numbers of one evaluation for people: a table on stdout and a page of Markdown.

Both are made from what `metrics.json` holds.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

HEADINGS = ("metric", "value", "95 % interval", "published", "difference")
_WIDTH_WITHOUT_TERMINAL = 110

Metrics = Mapping[str, Any]


def print_scores(metrics: Metrics) -> None:
    """Print the numbers that are looked at first; the others are in the report."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
    for evaluator in metrics["scores"]:
        table = Table(title=evaluator, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(HEADINGS[0], no_wrap=True)
        for heading in HEADINGS[1:]:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in _rows(metrics, evaluator, main_only=True):
            table.add_row(*row)
        console.print(table)
    for line in _remarks(metrics):
        console.print(line, markup=False)


def markdown(metrics: Metrics) -> str:
    """The whole report: all numbers, per class, protocol, what was left out."""
    head = f"# {metrics['method']['name']} on {metrics['protocol']['dataset']['name']}"
    parts = [head, "\n".join(f"- {line}" for line in _remarks(metrics))]
    for evaluator, scores in metrics["scores"].items():
        parts.append(f"## {evaluator}\n\n{metrics['protocol']['evaluators'][evaluator]['rules']}.")
        parts.append(_markdown_table(HEADINGS, list(_rows(metrics, evaluator, main_only=False))))
        if scores["per_class"]:
            names = list(scores["per_class"])
            parts.append("### Per class")
            parts.append(_markdown_table(("class", "kind", "seen", *names), _per_class(metrics, scores)))
    parts += ["## Protocol and method", _markdown_table(("what", "value"), list(_declared(metrics)))]
    if metrics["pictures"]["skipped"]:
        skipped = [(one["key"], one["reason"]) for one in metrics["pictures"]["skipped"]]
        parts += ["## Left out", _markdown_table(("picture", "reason"), skipped)]
    return "\n\n".join(parts) + "\n"


def _rows(metrics: Metrics, evaluator: str, *, main_only: bool) -> Iterator[tuple[str, ...]]:
    scores = metrics["scores"][evaluator]
    for name in scores["order"]:
        published = _published(metrics, evaluator, name)
        part_of = name.partition("/")[0]
        if main_only and "/" in name and part_of != scores["order"][0] and published is None:
            continue
        value, interval = scores["values"][name], scores["intervals"].get(name)
        yield (
            name,
            _text(value),
            "-" if interval is None or None in interval else f"{interval[0]:.2f} to {interval[1]:.2f}",
            "-" if published is None else f"{published:g}",
            "-" if published is None or value is None else f"{value - published:+.2f}",
        )


def _published(metrics: Metrics, evaluator: str, name: str) -> float | None:
    entry = metrics["published"].get(name)
    return float(entry["value"]) if entry is not None and entry["evaluator"] == evaluator else None


def _remarks(metrics: Metrics) -> Iterator[str]:
    used, skipped = metrics["pictures"]["used"], len(metrics["pictures"]["skipped"])
    left_out = f", {skipped} left out" if skipped else ""
    yield f"{used} {'picture' if used == 1 else 'pictures'}{left_out}"
    time = metrics["time"]
    if time["seconds_per_picture"] is not None:
        yield (
            f"{time['seconds_per_picture']:.3f} s per picture in the method, "
            f"{1000 * time['evaluation_seconds_per_picture']:.1f} ms in the evaluation; "
            f"peak {time['peak_gb']:.2f} GB; {time['device']}"
        )
    for source in sorted({entry["source"] for entry in metrics["published"].values()}):
        yield f"published: {source}"


def _per_class(metrics: Metrics, scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    kinds = ["thing" if is_thing else "stuff" for is_thing in metrics["is_thing"]]
    seen = ["yes" if is_seen else "no" for is_seen in metrics["is_seen"]]
    columns = [[_text(value) for value in values] for values in scores["per_class"].values()]
    return list(zip(metrics["classes"], kinds, seen, *columns, strict=True))


def _declared(metrics: Metrics) -> Iterator[tuple[str, str]]:
    for section in ("protocol", "method", "environment", "time"):
        yield from _flat(metrics[section], section)


def _flat(value: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for inner, content in value.items():
            yield from _flat(content, f"{key}.{inner}")
    else:
        yield key, "-" if value is None else str(value)


def _text(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
