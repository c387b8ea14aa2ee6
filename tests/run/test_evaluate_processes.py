"""Runs of ``ovseg evaluate`` in processes of their own: killed, resumed, sharded; always the same numbers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.blocks import without_times, words, write_blocks
from helpers.fake_command import CommandLineMethod, write_fake

from ovseg.cli.main import main
from ovseg.errors import ConfigError
from ovseg.registry import METHODS
from ovseg.run.processes import Processes, processes_of

pytestmark = pytest.mark.filterwarnings("ignore:'fake' has random weights")
SCRIPT = Path(__file__).parents[1] / "helpers" / "fake_command.py"
COUNT = 7


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(METHODS, "_run_time", {})
    METHODS.register("fake", CommandLineMethod)
    write_fake(tmp_path / "conf")
    write_blocks(tmp_path / "data", COUNT)
    return tmp_path


def line(*extra):
    return ["evaluate", "--config-dir", "conf", "model=fake", *words(Path("data")), *extra]


@pytest.fixture
def expected(folder):
    """What one run in this process says."""
    assert main(line("output=alone/run", "runtime.workers=0")) == 0
    return without_times(folder / "alone/run")


def start(*extra, launcher=(), **environment):
    return subprocess.Popen(
        [sys.executable, *launcher, str(SCRIPT), *line(*extra)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished_lines(run):
    return sum(path.read_bytes().count(b"\n") for path in run.glob("per_image*.jsonl"))


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


def test_a_killed_run_goes_on(folder, expected, monkeypatch):
    run = folder / "killed/run"
    process = start("output=killed/run", "runtime.workers=1", FAKE_DIE="0,4")
    workers = []
    while process.poll() is None:
        workers += [pid for child in children(process.pid) for pid in (child, *children(child))]
        time.sleep(0.2)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "metrics.json").exists()
    before = finished_lines(run)
    assert before < 5

    asked = []
    plain = CommandLineMethod.predict_batch

    def counts(self, images, vocabulary, *, tasks):
        asked.append(len(images))
        return plain(self, images, vocabulary, tasks=tasks)

    monkeypatch.setattr(CommandLineMethod, "predict_batch", counts)
    assert main(line("output=killed/run", "runtime.workers=0")) == 0
    assert len(asked) == COUNT - before
    assert without_times(run) == expected
    assert (run / "per_image.jsonl").read_bytes().count(b"\n") == COUNT
    deadline = time.monotonic() + 20
    while alive(workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(workers), "workers outlive a parent that was killed"


def test_a_process_of_two_dies_and_nothing_is_lost(folder, expected):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "FAKE_DIE": "1,2"}
    both = [
        start("output=two/run", "runtime.workers=0", RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [1, -signal.SIGKILL]
    assert "ovseg: process 1 of 2 cannot reach the others" in said[0][1]
    assert "Nothing is lost: run the same command again" in said[0][1]
    assert finished_lines(folder / "two/run") == 4 + 2
    assert not (folder / "two/run/metrics.json").exists()

    assert main(line("output=two/run", "runtime.workers=0")) == 0
    assert without_times(folder / "two/run") == expected


def test_torchrun_with_two_processes(folder, expected):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = start("output=torchrun/run", "runtime.workers=0", launcher=launcher)
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert out.count("7 pictures") == 1
    assert without_times(folder / "torchrun/run") == expected
    assert [path.name for path in (folder / "torchrun/run").glob("per_image*")] == ["per_image.jsonl"]


def test_what_torchrun_says_of_a_process():
    assert processes_of({}) == Processes(0, 1, 0)
    assert processes_of({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Processes(5, 8, 1)
    assert str(Processes(5, 8, 1)) == "process 6 of 8"
    with pytest.raises(ConfigError, match="RANK=x"):
        processes_of({"RANK": "x"})


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Processes(5, 8, 1).device("auto") == "cuda:1"
    assert Processes(5, 8, 1).device("cpu") == "cpu"
    assert Processes().device("cuda:3") == "cuda:3"
