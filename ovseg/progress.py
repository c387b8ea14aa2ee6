"""One way to say how far a long job is: a bar on a terminal, plain lines elsewhere, always on stderr."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]

FIRST_LINE_AFTER = 2.0
"""Seconds that a job may take before it says anything."""
SECONDS_BETWEEN_LINES = 10.0

BYTES = "B"
"""The unit whose counts are printed as kB, MB and GB."""

_lock = threading.Lock()
# A terminal has one live display: jobs inside jobs become further rows of it.
_shown: "Progress | None" = None


@contextmanager
def progress(
    description: str, total: int | None, unit: str = "", status: Callable[[], str] | None = None
) -> Iterator[Advance]:
    """Say how far a job is; call what this yields with the number of units done since the last call.

    On a terminal this is a bar, which is wiped if the job ends within two seconds. Elsewhere it is a plain
    line after two seconds and every ten seconds from then on, so that a log file stays short.

    Args:
        description: what is done, as in "Predicting".
        total: units in all; None if nobody knows.
        unit: what is counted, as in "pictures"; "B" prints sizes in kB, MB and GB.
        status: asked for a few more words whenever something is shown; None has none to say.
    """
    # `_shown`: inside a bar, sys.stderr is the bar's own proxy and says it is no terminal.
    on_terminal = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    draw = _bar if on_terminal or _shown else _lines
    with draw(description, total, unit, status or str) as advance:
        yield advance


@contextmanager
def _lines(description: str, total: int | None, unit: str, status: Callable[[], str]) -> Iterator[Advance]:
    stream, start = sys.stderr, time.monotonic()
    done, said, next_line, lock = 0, -1, start + FIRST_LINE_AFTER, threading.Lock()

    def say(now: float) -> None:
        nonlocal said
        said = done
        words = ", ".join(filter(None, (_line(description, done, total, unit, now - start), status())))
        print(words, file=stream, flush=True)

    def advance(count: int) -> None:
        nonlocal done, next_line
        with lock:
            done += count
            now = time.monotonic()
            if now >= next_line:
                next_line = now + SECONDS_BETWEEN_LINES
                say(now)

    yield advance
    now = time.monotonic()
    if now - start >= FIRST_LINE_AFTER and said < done:
        say(now)


def _line(description: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """For example "Predicting: 12/53 pictures (22 %), 41 s, about 140 s left"."""
    text = f"{description}: {_amount(done, total, unit)}"
    if total:
        text += f" ({100 * done // total} %)"
    text += f", {seconds:.0f} s"
    if total and 0 < done < total:
        text += f", about {seconds * (total - done) / done:.0f} s left"
    return text


def _amount(done: int, total: int | None, unit: str) -> str:
    if unit == BYTES:
        return _size(done) if total is None else f"{_size(done)}/{_size(total)}"
    return (f"{done} {unit}" if total is None else f"{done}/{total} {unit}").rstrip()


def _size(count: int) -> str:
    for factor, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= factor:
            return f"{count / factor:.1f} {name}"
    return f"{count} B"


@contextmanager
def _bar(description: str, total: int | None, unit: str, status: Callable[[], str]) -> Iterator[Advance]:
    start = time.monotonic()
    with _display() as display:
        task = display.add_task(description, total=total, amount=_amount(0, total, unit), status="")
        done, lock = 0, threading.Lock()

        def advance(count: int) -> None:
            nonlocal done
            with lock:
                done += count
                display.update(task, completed=done, amount=_amount(done, total, unit), status=status())

        try:
            yield advance
        finally:
            if time.monotonic() - start < FIRST_LINE_AFTER:
                display.remove_task(task)


@contextmanager
def _display() -> Iterator["Progress"]:
    """The live display of this process: the one that is up, or a new one for the time of the block."""
    global _shown
    with _lock:
        mine = _shown is None
        if _shown is None:
            _shown = _new_display()
        display = _shown
    if not mine:
        yield display
        return
    plain = sys.stderr
    display.start()
    # Log lines go through the display, which prints them above the bar instead of into it.
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is plain
    ]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield display
    finally:
        display.live.transient = not display.tasks
        display.stop()
        for handler in handlers:
            handler.setStream(plain)
        with _lock:
            _shown = None


def _new_display() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        console=Console(stderr=True),
    )
