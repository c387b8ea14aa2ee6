import io
import logging
import subprocess
import sys

import pytest

from ovseg import progress as module
from ovseg.progress import progress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def test_plain_lines_come_after_two_seconds_and_then_every_ten(clock, capsys):
    with progress("Predicting", 100, "pictures") as advance:
        for _ in range(50):
            clock.now += 0.5
            advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Predicting: 8/100 pictures (8 %), 2 s, about 23 s left",
        "Predicting: 48/100 pictures (48 %), 12 s, about 13 s left",
        "Predicting: 88/100 pictures (88 %), 22 s, about 3 s left",
        "Predicting: 100/100 pictures (100 %), 25 s",
    ]


def test_short_jobs_say_nothing(clock, capsys):
    with progress("Quick", 3) as advance:
        clock.now += 1.9
        advance(3)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_unknown_totals_and_bytes(clock, capsys):
    with progress("Encoding", None, "names") as advance:
        clock.now += 3
        advance(40)
    with progress("Download", 2 * 10**9, "B") as advance:
        clock.now += 3
        advance(25 * 10**6)
    with progress("Download", None, "B") as advance:
        clock.now += 3
        advance(999)
        clock.now += 10
        advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "Encoding: 40 names, 3 s",
        "Download: 25.0 MB/2.0 GB (1 %), 3 s, about 237 s left",
        "Download: 999 B, 3 s",
        "Download: 1.0 kB, 13 s",
    ]


def test_an_error_passes_and_claims_no_end(clock, capsys):
    def work():
        with progress("Predicting", 2) as advance:
            clock.now += 3
            advance(1)
            raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"):
        work()
    assert len(capsys.readouterr().err.splitlines()) == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def open_terminal(monkeypatch, kind="xterm"):
    """Called in the test itself: pytest sets its own stderr between a fixture and the test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(module, "FIRST_LINE_AFTER", 0)
    with progress("Predicting [all]", 4, "pictures") as advance:
        advance(3)
        with progress("Encoding", None, "names") as inner:
            inner(7)
        advance(1)
    shown = terminal.getvalue()
    assert "Predicting [all]" in shown
    assert "4/4 pictures" in shown
    assert "7 names" in shown
    assert module._shown is None


def test_a_short_bar_is_wiped(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with progress("Quick", 4) as advance:
        advance(4)
    assert terminal.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[?25h"))


def test_log_lines_go_above_the_bar_and_their_stream_comes_back(monkeypatch):
    terminal = open_terminal(monkeypatch)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)

    def work():
        with progress("Predicting", 4):
            assert handler.stream is not terminal
            logging.getLogger("ovseg").warning("look out")
            raise KeyError

    try:
        with pytest.raises(KeyError):
            work()
        assert handler.stream is terminal
        assert sys.stderr is terminal
        assert "look out" in terminal.getvalue()
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_dumb_terminal_gets_lines(clock, monkeypatch):
    terminal = open_terminal(monkeypatch, "dumb")
    with progress("Predicting", 2) as advance:
        clock.now += 3
        advance(2)
    assert terminal.getvalue().splitlines()[-1] == "Predicting: 2/2 (100 %), 3 s"


def test_needs_neither_torch_nor_rich_to_be_imported():
    code = "import sys, ovseg.progress; print([name for name in ('torch', 'rich') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
