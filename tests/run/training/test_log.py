import csv
import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ovseg.errors import ConfigError, OutputError
from ovseg.run.training.engine import Step
from ovseg.run.training.log import TrainingLog, make_loggers, require_loggers


def step(number):
    return Step({"loss_a": float(number), "loss_b": 0.1}, gradient_norm=2.0, learning_rate=0.1 / number)


def add(log, *iterations):
    for iteration in iterations:
        log.add(iteration, step(iteration), seconds=0.5, data_seconds=0.25)


def rows(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_row_has_means_since_the_one_before(tmp_path):
    log = TrainingLog(folder=tmp_path, every=2)
    add(log, 1, 2, 3, 4, 5)
    assert [row["iteration"] for row in rows(tmp_path)] == ["2", "4"]
    last = {key: float(value) for key, value in rows(tmp_path)[1].items()}
    assert last == {
        "iteration": 4,
        "learning_rate": 0.025,
        "loss": pytest.approx(3.6),
        "loss_a": 3.5,
        "loss_b": 0.1,
        "gradient_norm": 2.0,
        "seconds": 0.5,
        "data_seconds": 0.25,
    }


def test_the_last_iteration_ends_a_row(tmp_path):
    log = TrainingLog(folder=tmp_path, every=20, last=3)
    add(log, 1, 2, 3)
    assert [row["iteration"] for row in rows(tmp_path)] == ["3"]


def test_a_resumed_log_is_the_one_of_a_run_that_was_not_stopped(tmp_path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    add(TrainingLog(folder=tmp_path / "whole", every=2), *range(1, 9))
    stopped = TrainingLog(folder=tmp_path / "stopped", every=2)
    add(stopped, 1, 2, 3)
    state = stopped.state
    add(stopped, 4, 5, 6)
    with (tmp_path / "stopped" / "log.csv").open("a") as file:
        file.write("8,0.1,12")  # of a process that was killed while it wrote
    resumed = TrainingLog(folder=tmp_path / "stopped", every=2)
    resumed.begin(3, state)
    add(resumed, *range(4, 9))
    assert (tmp_path / "stopped" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


def test_rows_of_a_run_that_never_saved_are_all_taken_back(tmp_path):
    add(TrainingLog(folder=tmp_path, every=1), 1, 2)
    TrainingLog(folder=tmp_path, every=1).begin(0, {})
    assert not (tmp_path / "log.csv").exists()


def test_a_folder_that_is_gone_is_said(tmp_path):
    log = TrainingLog(folder=tmp_path / "gone", every=1)
    with pytest.raises(OutputError, match=r"log\.csv cannot be written: No such file or directory"):
        add(log, 1)


def test_processes_but_the_first_keep_no_file(tmp_path):
    log = TrainingLog(folder=tmp_path, every=1, keeps_file=False)
    log.begin(0, {})
    add(log, 1)
    assert not (tmp_path / "log.csv").exists()


def test_tensorboard_gets_the_rows_and_the_scores(tmp_path):
    log = TrainingLog(folder=tmp_path, every=2, loggers=make_loggers(["tensorboard"], tmp_path, 0))
    add(log, 1, 2)
    log.scores(2, {"panoptic_quality/PQ": 26.5})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("training/loss_a")] == [(2, 1.5)]
    assert [(e.step, e.value) for e in events.Scalars("evaluation/panoptic_quality/PQ")] == [(2, 26.5)]


def test_weights_and_biases_where_it_is_installed(tmp_path, monkeypatch):
    said = []
    run = SimpleNamespace(
        log=lambda values, step: said.append((step, values)), finish=lambda: said.append("end")
    )
    package = SimpleNamespace(init=lambda **given: said.append(given) or run)
    monkeypatch.setitem(sys.modules, "wandb", package)
    log = TrainingLog(folder=tmp_path, every=1, loggers=make_loggers(["wandb"], tmp_path, 0))
    log.scores(5, {"mean_iou/mIoU": 40.0})
    log.close()
    assert said[0]["resume"] == "allow"
    assert said[1:] == [(5, {"evaluation/mean_iou/mIoU": 40.0}), "end"]


def test_a_logger_that_is_not_installed_says_what_to_type(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    text = (
        r"training.loggers=wandb: the package 'wandb' is not installed. Type pip install 'ovseg\[wandb\]', "
        r"or leave it out: training.loggers=\[tensorboard\]; log.csv is always written."
    )
    with pytest.raises(ConfigError, match=text):
        require_loggers(["wandb", "tensorboard"])
