"""A comparison as Markdown, CSV, LaTeX and JSON.

Markdown and LaTeX show headlines, rounded, for people. CSV and JSON hold every number as the runs have it.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence

from ovseg.report.comparison import Cell, Comparison, MethodRow, interval_text, number, signed

NO_NUMBER = "–"

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "–": "--",
}
_MARKDOWN = "\\|*_`[]<>"


def value_text(cell: Cell | None, digits: int) -> str:
    """``26.8``, or a dash."""
    return NO_NUMBER if cell is None else number(cell.value, digits)


def published_text(cell: Cell | None, digits: int) -> str:
    """``(26.8)``, or nothing."""
    return f"({number(cell.published.value, digits)})" if cell is not None and cell.published else ""


def difference_text(cell: Cell | None, digits: int) -> str:
    """``+1.2 [0.4, 2.0]``, or a dash."""
    if cell is None or cell.difference is None:
        return NO_NUMBER
    interval = cell.difference.interval
    return signed(cell.difference.value, digits) + (f" {interval_text(interval, digits)}" if interval else "")


def seconds_text(row: MethodRow) -> str:
    """Seconds per picture with three digits that say something."""
    return NO_NUMBER if row.cost.seconds is None else f"{row.cost.seconds:.3g}"


def memory_text(row: MethodRow) -> str:
    """GB with one decimal."""
    return NO_NUMBER if row.cost.peak_gb is None else f"{row.cost.peak_gb:.1f}"


def explanation(comparison: Comparison) -> str:
    """What the numbers beside the values are."""
    said = "In brackets: 95 % bootstrap intervals over pictures."
    if any(cell.published for row in comparison.methods for cell in row.cells.values()):
        said += " In parentheses: the published number."
    if any(cell.difference for row in comparison.methods for cell in row.cells.values()):
        said += f" Differences are to {comparison.baseline}, over {comparison.common} common pictures"
        said += (
            f", with paired intervals of {comparison.resamples} resamples." if comparison.resamples else "."
        )
    return said


def markdown(comparison: Comparison, digits: int) -> str:
    """Two tables, values and differences, and the notes."""
    titles = [column.title for column in comparison.headlines]
    head = ["method", *titles, "s/picture", "peak GB", "machine"]
    values = [
        [
            _markdown(_name(row)),
            *(_markdown_cell(row.cells.get(title), digits) for title in titles),
            seconds_text(row),
            memory_text(row),
            _markdown(row.cost.machine),
        ]
        for row in comparison.methods
    ]
    others = [row for row in comparison.methods if row.name != comparison.baseline]
    differences = [
        [_markdown(_name(row)), *(difference_text(row.cells.get(title), digits) for title in titles)]
        for row in others
    ]
    parts = [
        f"# {_markdown(comparison.dataset)}: {_markdown(', '.join(row.name for row in comparison.methods))}",
        _markdown_table(head, values),
        *(
            [
                f"## Difference to {_markdown(comparison.baseline)}",
                _markdown_table(["method", *titles], differences),
            ]
            if any(cell.difference for row in others for cell in row.cells.values())
            else []
        ),
        explanation(comparison),
        *(f"- {f'({note.mark}) ' if note.mark else ''}{_markdown(note.text)}" for note in comparison.notes),
        "## Protocol",
        "\n".join(f"- {what}: {_markdown(how)}" for what, how in comparison.protocol),
    ]
    return "\n\n".join(parts) + "\n"


def latex(comparison: Comparison, digits: int) -> str:
    """Two tabulars for the package booktabs, values and differences; the best values are bold."""
    titles = [column.title for column in comparison.headlines]
    head = ["Method", *titles, "s/picture", "GB"]
    values = [
        [
            _tex(_name(row)),
            *(_tex_cell(row.cells.get(title), digits) for title in titles),
            _tex(seconds_text(row)),
            _tex(memory_text(row)),
        ]
        for row in comparison.methods
    ]
    differences = [
        [_tex(_name(row)), *(_tex(difference_text(row.cells.get(title), digits)) for title in titles)]
        for row in comparison.methods
        if row.name != comparison.baseline
    ]
    lines = [
        "% Needs \\usepackage{booktabs}.",
        *(f"% {line}" for line in _comments(comparison)),
        *_tabular(head, values),
        "",
        f"% Differences to {' '.join(comparison.baseline.split())}",
        *_tabular(["Method", *titles], differences),
    ]
    return "\n".join(lines) + "\n"


def csv_text(comparison: Comparison) -> str:
    """A row per method, every number unrounded; empty where there is none."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    titles = [column.title for column in comparison.columns]
    extras = ("", " low", " high", " published", " difference", " difference low", " difference high")
    writer.writerow(
        ["method", "folder", "data set", "baseline", "pictures", "common pictures", "skipped"]
        + [title + extra for title in titles for extra in extras]
        + ["seconds per picture", "peak GB", "device", "processor", "notes"]
    )
    for row in comparison.methods:
        said = " ".join(note.text for note in comparison.notes if not note.mark or note.mark in row.marks)
        head = [row.name, row.path, comparison.dataset, comparison.baseline]
        writer.writerow(
            [*head, row.pictures, comparison.common, row.skipped]
            + [value for title in titles for value in _plain(row.cells.get(title))]
            + [row.cost.seconds, row.cost.peak_gb, row.cost.device, row.cost.processor, said]
        )
    return buffer.getvalue()


def json_text(comparison: Comparison) -> str:
    """Everything; the fields of `ovseg.report.comparison`."""
    content = {"format": 1, **dataclasses.asdict(comparison)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _name(row: MethodRow) -> str:
    return f"{row.name} ({', '.join(row.marks)})" if row.marks else row.name


def _plain(cell: Cell | None) -> list[float | None]:
    if cell is None:
        return [None] * 7
    difference = cell.difference
    return [
        cell.value,
        *(cell.interval or (None, None)),
        cell.published and cell.published.value,
        difference and difference.value,
        *((difference and difference.interval) or (None, None)),
    ]


def _markdown_cell(cell: Cell | None, digits: int) -> str:
    text = value_text(cell, digits)
    if cell is None:
        return text
    parts = [f"**{text}**" if cell.is_best else text, published_text(cell, digits)]
    return " ".join(filter(None, [*parts, interval_text(cell.interval, digits) if cell.interval else ""]))


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[_markdown(title) for title in head], *rows]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(head))]
    padded = [
        [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    rule = ["-" * width if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], rule, *padded[1:]))


def _markdown(text: str) -> str:
    return "".join(f"\\{letter}" if letter in _MARKDOWN else letter for letter in " ".join(text.split()))


def _tex_cell(cell: Cell | None, digits: int) -> str:
    text = _tex(value_text(cell, digits))
    if cell is None:
        return text
    shown = f"\\textbf{{{text}}}" if cell.is_best else text
    small = " ".join(
        filter(
            None,
            [published_text(cell, digits), interval_text(cell.interval, digits) if cell.interval else ""],
        )
    )
    return f"{shown} {{\\scriptsize {_tex(small)}}}" if small else shown


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        "\\toprule",
        " & ".join(map(_tex, head)) + " \\\\",
        "\\midrule",
        *(" & ".join(row) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]


def _comments(comparison: Comparison) -> list[str]:
    lines = [f"{what}: {how}" for what, how in comparison.protocol] + [explanation(comparison)]
    lines += [f"({note.mark}) {note.text}" if note.mark else note.text for note in comparison.notes]
    return [" ".join(line.split()) for line in lines]


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
