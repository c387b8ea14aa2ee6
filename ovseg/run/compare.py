"""Run folders in, one comparison out: see `ovseg.report.comparison` for what it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ovseg.errors import ConfigError
from ovseg.progress import progress
from ovseg.report.comparison import (
    Cell,
    ClassFacts,
    Column,
    Comparison,
    Cost,
    Difference,
    MethodRow,
    Note,
    Published,
)
from ovseg.run.columns import Notes, Source, columns_of, in_order, values_of
from ovseg.run.paired import common_pictures, paired_differences
from ovseg.run.protocols import (
    check_same_data,
    dataset_text,
    said_protocol,
    unique_names,
    word_differences,
)
from ovseg.run.run_folder import Run
from ovseg.suggest import did_you_mean, listed


def compare_runs(runs: Sequence[Run], *, baseline: str | None, resamples: int) -> Comparison:
    """Put finished runs side by side.

    Args:
        runs: in the order of the rows.
        baseline: name of the run that differences are to; None is the first.
        resamples: of the paired bootstrap intervals; 0 for none.

    Raises:
        ConfigError: there are fewer than two runs, one is named twice, or there is no such baseline.
        DataError: they are of different data, or their records are damaged.
    """
    if len(runs) < 2:
        raise ConfigError(
            f"Comparing takes at least two runs, got {len(runs)}. Name more: runs=[runs/ade20k/fcclip,"
            "runs/ade20k/trident] or models=[fcclip,trident] dataset=ade20k."
        )
    names = unique_names(runs)
    base = _baseline(names, baseline)
    check_same_data(runs, names)
    notes = Notes()
    marks = [_marks(run, runs[base], names[base], notes) for run in runs]
    sources = columns_of(runs, base, names, notes)
    keys = common_pictures(runs)
    same_pictures = all(_picture_set(run) == set(keys) for run in runs)
    differences = _differences(runs, base, sources, keys, resamples)
    per_class = [_per_class(run, index, sources) for index, run in enumerate(runs)]
    rows = tuple(
        MethodRow(
            name=names[index],
            path=str(run.path),
            marks=marks[index],
            cells=_cells(run, index, sources, differences[index]),
            per_class=per_class[index],
            cost=_cost(run),
            pictures=_used(run),
            skipped=len(run.metrics["pictures"].get("skipped", ())),
        )
        for index, run in enumerate(runs)
    )
    same_machine = len({row.cost.machine for row in rows}) == 1
    return Comparison(
        dataset=dataset_text(runs[base]),
        protocol=said_protocol(runs[base]),
        baseline=names[base],
        common=len(keys),
        resamples=resamples,
        columns=tuple(source.column for source in sources),
        per_class=tuple(dict.fromkeys(title for values in per_class for title in values)),
        methods=_with_best(rows, sources) if same_pictures else rows,
        classes=_classes(runs[base]),
        notes=(*notes.all(), *_general_notes(rows, len(keys), same_pictures, same_machine)),
        same_machine=same_machine,
    )


def _baseline(names: Sequence[str], wanted: str | None) -> int:
    if wanted is None:
        return 0
    if wanted not in names:
        raise ConfigError(
            f"baseline={wanted}: no run is called so.{did_you_mean(wanted, names)} Runs: {listed(names)}."
        )
    return names.index(wanted)


def _marks(run: Run, baseline: Run, baseline_name: str, notes: Notes) -> tuple[str, ...]:
    """Letters of the notes that say how a run's words and pictures differ from the baseline's."""
    found = word_differences(run, baseline)
    return (notes.mark(f"Not as {baseline_name}: {'; '.join(found)}."),) if found else ()


def _differences(
    runs: Sequence[Run], base: int, sources: Sequence[Source], keys: Sequence[str], resamples: int
) -> list[dict[str, Difference]]:
    """Per run: column title -> difference to the baseline, where both stand in the column."""
    found: list[dict[str, Difference]] = [{} for _ in runs]
    wanted: dict[tuple[int, str], list[Column]] = {}
    for source in sources:
        for index in source.runs if base in source.runs else ():
            if index != base:
                wanted.setdefault((index, source.column.evaluator), []).append(source.column)
    with progress("Comparing", len(wanted), "pairs") as advance:
        for (index, evaluator), columns in wanted.items():
            pair = paired_differences(runs[index], runs[base], evaluator, keys, resamples=resamples)
            found[index] |= {c.title: pair[c.metric] for c in columns if c.metric in pair}
            advance(1)
    return found


def _cells(
    run: Run, index: int, sources: Sequence[Source], differences: Mapping[str, Difference]
) -> dict[str, Cell]:
    cells = {}
    for source in sources:
        if index not in source.runs:
            continue
        column = source.column
        interval = run.metrics["scores"][column.evaluator].get("intervals", {}).get(column.metric)
        published = (run.metrics.get("published") or {}).get(column.metric)
        cells[column.title] = Cell(
            value=values_of(run, column.evaluator)[column.metric],
            interval=None if not interval or None in interval else (float(interval[0]), float(interval[1])),
            published=published and Published(float(published["value"]), str(published.get("source", ""))),
            difference=differences.get(column.title),
        )
    return cells


def _per_class(run: Run, index: int, sources: Sequence[Source]) -> dict[str, list[float | None]]:
    """Column title -> numbers of the classes; a metric without a column of its own keeps its name."""
    titles = {
        (source.column.evaluator, source.column.metric): source.column.title
        for source in sources
        if index in source.runs
    }
    found = {}
    for evaluator in in_order(run.metrics["scores"]):
        for metric, values in run.metrics["scores"][evaluator].get("per_class", {}).items():
            title = titles.get((evaluator, metric), metric)
            found[title] = [None if value is None else float(value) for value in values]
    order = {"PQ": 0, "IoU": 1, "AP": 2}  # what is looked at first
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _with_best(rows: Sequence[MethodRow], sources: Sequence[Source]) -> tuple[MethodRow, ...]:
    """Mark the best cells of the columns in which methods differ."""
    best = {}
    for source in sources:
        title = source.column.title
        values = [row.cells[title].value for row in rows if title in row.cells]
        if len(set(values)) > 1:
            best[title] = max(values)
    return tuple(
        replace(
            row,
            cells={
                title: replace(cell, is_best=cell.value == best.get(title))
                for title, cell in row.cells.items()
            },
        )
        for row in rows
    )


def _cost(run: Run) -> Cost:
    time = run.metrics["time"]
    seconds, peak = time.get("seconds_per_picture"), time.get("peak_gb")
    return Cost(
        seconds=None if seconds is None else float(seconds),
        peak_gb=None if peak is None else float(peak),
        device=str(time.get("device") or ""),
        processor=str(time.get("processor") or ""),
    )


def _classes(run: Run) -> tuple[ClassFacts, ...]:
    metrics = run.metrics
    seen = [bool(value) for value in metrics.get("is_seen") or ()]
    divided = any(seen) and not all(seen)
    return tuple(
        ClassFacts(str(name), bool(is_thing), seen[index] if divided else None)
        for index, (name, is_thing) in enumerate(zip(metrics["classes"], metrics["is_thing"], strict=True))
    )


def _used(run: Run) -> int:
    return int(run.metrics["pictures"].get("used", len(_picture_set(run))))


def _picture_set(run: Run) -> set[str]:
    return {line.key for line in run.lines if line.error is None}


def _general_notes(
    rows: Sequence[MethodRow], common: int, same_pictures: bool, same_machine: bool
) -> list[Note]:
    found = []
    if not same_pictures:
        counts = ", ".join(f"{row.name} {row.pictures}" for row in rows)
        how = (
            f"differences are over the {common} that all have"
            if common
            else "none is common, so there are no differences"
        )
        found.append(
            f"The methods were evaluated on different pictures ({counts}): {how}, and no method is marked "
            "best."
        )
    skipped = ", ".join(f"{row.name} {row.skipped}" for row in rows if row.skipped)
    if skipped:
        found.append(f"Pictures that failed and count for nothing: {skipped}.")
    if not same_machine:
        found.append("Time and memory were measured on different machines and cannot be compared.")
    return [Note("", text) for text in found]
