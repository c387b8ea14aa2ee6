"""Rows to people and programs, on stdout: a table on a terminal, aligned text elsewhere, JSON on request."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = str | int | bool | Sequence[str] | None
Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """Rows of one kind; the keys of the first row are the columns.

    Attributes:
        kind: the key in JSON.
        title: a heading for people.
        empty: what to say where there is no row.
        only_json: keys that people need not see.
        optional: keys that a terminal too narrow for all leaves out, the first of them first.
    """

    kind: str
    title: str
    rows: Sequence[Row]
    empty: str
    only_json: frozenset[str] = frozenset()
    optional: tuple[str, ...] = ()


def show(tables: Sequence[Table], *, as_json: bool) -> None:
    """Print tables to stdout."""
    if as_json:
        print(json.dumps({table.kind: list(table.rows) for table in tables}, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _draw(tables)
    else:
        print("\n\n".join(_plain(table) for table in tables))


def text_of(key: str, cell: Cell) -> str:
    """One cell for people."""
    if cell is None:
        return "not published" if key == "size" else "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return bytes_text(cell) if key == "size" else str(cell)
    return cell if isinstance(cell, str) else ", ".join(cell) or "-"


def bytes_text(count: int) -> str:
    """``1.4 GB`` for 1,400,000,000."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


_WRAPPED = frozenset({"what", "licence", "configs"})
"""Keys whose texts may take several lines on a terminal."""
_NARROWEST = 28
"""Characters below which a wrapped column is no longer read with ease."""


def _columns(table: Table) -> list[str]:
    return [key for key in table.rows[0] if key not in table.only_json]


def _heading(key: str) -> str:
    return key.replace("_", " ")


def _plain(table: Table) -> str:
    """Columns padded with blanks, never cut, so that other programs find whole values."""
    if not table.rows:
        return f"{table.title}\n  {table.empty}"
    keys = _columns(table)
    lines = [
        [_heading(key) for key in keys],
        *([text_of(key, row[key]) for key in keys] for row in table.rows),
    ]
    widths = [max(len(line[index]) for line in lines) for index in range(len(keys))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "\n".join([table.title, *(f"  {line}".rstrip() for line in padded)])


def _draw(tables: Sequence[Table]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn

    console = Console(width=shutil.get_terminal_size().columns)
    for table in tables:
        if not table.rows:
            console.print(f"[bold]{table.title}[/bold]\n  {table.empty}\n", highlight=False)
            continue
        drawn = Drawn(
            title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
        )
        keys, fits = _fitting(table, console.width)
        for key in keys:
            drawn.add_column(_heading(key), overflow="fold", no_wrap=fits and key not in _WRAPPED)
        for row in table.rows:
            drawn.add_row(*(text_of(key, row[key]) for key in keys))
        console.print(drawn)


def _fitting(table: Table, width: int) -> tuple[list[str], bool]:
    """The columns to show on a terminal of so many characters, and whether it has room for these."""
    keys = _columns(table)
    needed = {key: max(len(text_of(key, row[key])) for row in table.rows) + 3 for key in keys}
    for key in _WRAPPED & needed.keys():
        needed[key] = min(needed[key], _NARROWEST)
    for key in table.optional:
        if sum(needed[kept] for kept in keys) <= width:
            break
        keys.remove(key)
    return keys, sum(needed[kept] for kept in keys) <= width
