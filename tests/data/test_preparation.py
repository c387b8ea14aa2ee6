"""Preparations: whole files, resumed after any end, the same whatever the order and the number of threads."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.dataset_files import files_of

from ovseg.data import preparation
from ovseg.data.preparation import Made, Outcome, Preparation, prepare, put
from ovseg.errors import DataError, OutputError


class Squares(Preparation):
    """A file per number with its square, and their list in the end."""

    def __init__(self, folder: Path, count: int = 9, stop_at: int | None = None):
        super().__init__(name="squares", what="squares", folder=folder)
        self.count = count
        self.stop_at = stop_at
        self.made: list[str] = []

    def jobs(self):
        return [f"n{number}" for number in range(self.count)]

    def files(self, job):
        return (f"{job}.txt", f"more/{job}.txt")

    def make(self, job):
        number = int(job[1:])
        if number == self.stop_at:
            raise DataError(f"{job} is damaged.")
        self.made.append(job)
        text = str(number**2).encode()
        return Made({f"{job}.txt": text, f"more/{job}.txt": text}, record=number**2)

    def finish(self, records):
        return {"list.json": json.dumps(records).encode()}


def reference(tmp_path):
    prepare(Squares(tmp_path / "reference"), threads=1)
    return files_of(tmp_path / "reference")


@pytest.mark.parametrize("threads", [1, 4])
def test_everything_is_made_and_listed(tmp_path, threads):
    squares = Squares(tmp_path / "a")
    assert squares.state == "absent"
    assert prepare(squares, threads=threads) == Outcome(made=9, kept=0)
    assert squares.state == "whole"
    made = files_of(tmp_path / "a")
    assert made == reference(tmp_path)
    assert made["more/n8.txt"] == b"64"
    assert json.loads(made["list.json"]) == [number**2 for number in range(9)]
    assert not [name for name in made if "journal" in name or "tmp" in name]


def test_twice_changes_nothing(tmp_path):
    prepare(Squares(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = Squares(tmp_path)
    assert prepare(again) == Outcome(made=0, kept=9)
    assert again.made == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_after_an_error_it_goes_on_where_it_stopped(tmp_path):
    broken = Squares(tmp_path / "a", stop_at=5)
    with pytest.raises(DataError, match="n5 is damaged"):
        prepare(broken, threads=1)
    assert broken.state == "half"
    whole = Squares(tmp_path / "a")
    outcome = prepare(whole, threads=1)
    assert outcome == Outcome(made=9 - len(broken.made), kept=len(broken.made))
    assert set(whole.made).isdisjoint(broken.made)
    assert files_of(tmp_path / "a") == reference(tmp_path)


def test_a_torn_line_and_a_lost_file_are_made_again(tmp_path):
    with pytest.raises(DataError):
        prepare(Squares(tmp_path / "a", stop_at=8), threads=1)
    journal = Squares(tmp_path / "a").journal
    journal.write_text(journal.read_text()[:-4])
    (tmp_path / "a" / "more" / "n2.txt").unlink()
    whole = Squares(tmp_path / "a")
    prepare(whole, threads=1)
    assert whole.made == ["n2", "n7", "n8"]
    assert files_of(tmp_path / "a") == reference(tmp_path)


def test_a_lost_file_of_a_whole_folder_is_made_again(tmp_path):
    prepare(Squares(tmp_path / "a"))
    (tmp_path / "a" / "n3.txt").unlink()
    assert prepare(Squares(tmp_path / "a")) == Outcome(made=1, kept=8)
    assert files_of(tmp_path / "a") == reference(tmp_path)


class NoList(Squares):
    finish = Preparation.finish


def test_files_of_other_programs_are_kept_where_no_record_is_needed(tmp_path):
    for name in NoList(tmp_path).jobs()[:4]:
        for file in NoList(tmp_path).files(name):
            put(tmp_path / file, b"theirs")
    assert NoList(tmp_path).state == "foreign"
    assert prepare(NoList(tmp_path)) == Outcome(made=5, kept=4)
    assert (tmp_path / "n0.txt").read_bytes() == b"theirs"
    # A record cannot be told from a file, so with a list all are made anew.
    assert prepare(Squares(tmp_path)).made == 9


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_preparation import Squares
from ovseg.data.preparation import prepare

class Slow(Squares):
    def make(self, job):
        time.sleep(0.05)
        return super().make(job)

prepare(Slow(Path(sys.argv[1]), 40), threads=2)
"""


def test_killed_in_the_middle_then_again_gives_the_same_files(tmp_path):
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here.parent}"}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "a"), str(here)], env=environment
    )
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "a").glob("n*.txt"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Squares(tmp_path / "a").state == "half"
    (tmp_path / "a" / f".ovseg-{process.pid}-1.tmp").write_bytes(b"half")
    (tmp_path / "a" / f".ovseg-{os.getpid()}-1.tmp").write_bytes(b"being written")
    outcome = prepare(Squares(tmp_path / "a", 40))
    assert outcome.kept >= 1
    assert outcome.made >= 1
    (tmp_path / "a" / f".ovseg-{os.getpid()}-1.tmp").unlink()
    prepare(Squares(tmp_path / "b", 40))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_full_disk_says_so(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "put", full)
    with pytest.raises(OutputError, match=r"a cannot be written to: No space left.*goes on where it stopped"):
        prepare(Squares(tmp_path / "a"))


def test_nobody_sees_half_a_file(tmp_path):
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            if (tmp_path / "f").exists():
                seen.add(len((tmp_path / "f").read_bytes()))

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(200):
        put(tmp_path / "f", bytes(100_000))
    stop.set()
    reader.join()
    assert seen == {100_000}
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
