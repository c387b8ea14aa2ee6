"""A comparison on stdout: a table on a terminal, Markdown elsewhere."""

import sys
from typing import TYPE_CHECKING

from ovseg.report.comparison import Cell, Comparison, interval_text
from ovseg.report.table_formats import (
    difference_text,
    explanation,
    markdown,
    memory_text,
    published_text,
    seconds_text,
    value_text,
)

if TYPE_CHECKING:
    from rich.text import Text


def print_comparison(comparison: Comparison, digits: int) -> None:
    """Print it."""
    if sys.stdout.isatty():
        _draw(comparison, digits)
    else:
        print(markdown(comparison, digits))


def _draw(comparison: Comparison, digits: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, title=Text(comparison.dataset), title_justify="left", pad_edge=False)
    table.add_column("method")
    columns = comparison.headlines
    for column in columns:
        table.add_column(Text(column.title), justify="right")
    table.add_column("s/picture", justify="right")
    table.add_column("GB", justify="right")
    for row in comparison.methods:
        name = f"{row.name} ({', '.join(row.marks)})" if row.marks else row.name
        cells = [_cell(row.cells.get(column.title), digits) for column in columns]
        table.add_row(Text(name), *cells, seconds_text(row), memory_text(row))
    console.print(table)
    for line in (explanation(comparison), *_notes(comparison)):
        console.print(Text(line, "dim"))


def _cell(cell: Cell | None, digits: int) -> "Text":
    """Value, interval and difference, one below the other."""
    from rich.text import Text

    text = Text(value_text(cell, digits), "bold" if cell is not None and cell.is_best else "")
    if cell is None:
        return text
    if cell.published:
        text.append(f" {published_text(cell, digits)}", "dim")
    if cell.interval:
        text.append(f"\n{interval_text(cell.interval, digits)}", "dim")
    if cell.difference:
        style = ("green" if cell.difference.value > 0 else "red") if cell.difference.is_clear else ""
        text.append("\n" + difference_text(cell, digits).replace(" [", "\n["), style)
    return text


def _notes(comparison: Comparison) -> list[str]:
    return [f"({note.mark}) {note.text}" if note.mark else note.text for note in comparison.notes]
