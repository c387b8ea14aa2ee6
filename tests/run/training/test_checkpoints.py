import errno
import os
import random

import numpy as np
import pytest
import torch
from helpers.fake_training import FakeTraining, batch_at, fake_engine, trained_values

from ovseg.errors import OutputError
from ovseg.run.processes import Processes
from ovseg.run.training.checkpoints import (
    Standing,
    export,
    latest,
    load_checkpoint,
    save_checkpoint,
)


def stepped(iterations=2):
    engine = fake_engine()
    for iteration in range(iterations):
        engine.step(iteration, [batch_at(range(2))])
    return engine


def drawn():
    return [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()]  # noqa: NPY002


def test_everything_that_the_next_steps_depend_on_comes_back(tmp_path):
    engine, standing = (
        stepped(),
        Standing(2, {"iteration": 2}, {"sums": {"loss": 1.5}, "count": 1}, ("a/X", 0.25)),
    )
    save_checkpoint(tmp_path, engine, standing)
    load_checkpoint(tmp_path, engine)  # as below: the checks of types draw numbers themselves
    numbers = drawn()
    losses = engine.step(2, [batch_at(range(2))]).losses
    other = fake_engine(FakeTraining(seed=0))
    assert load_checkpoint(tmp_path, other) == standing
    assert drawn() == numbers
    assert other.step(2, [batch_at(range(2))]).losses == losses
    assert torch.equal(trained_values(other.training), trained_values(engine.training))


def test_a_new_folder_has_none(tmp_path):
    assert load_checkpoint(tmp_path, fake_engine()) is None


def test_the_one_before_is_kept_and_used_by_a_run_that_was_killed_between_two_moves(tmp_path):
    engine = stepped()
    for iteration in (1, 2, 3):
        save_checkpoint(tmp_path, engine, Standing(iteration, {}, {}))
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "previous.pt"]
    assert load_checkpoint(tmp_path, engine).iteration == 3
    (folder / "last.pt").rename(folder / "last.pt.new")
    assert latest(tmp_path) == folder / "previous.pt"
    assert load_checkpoint(tmp_path, engine).iteration == 2


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device. Free some space, then run the same command again"),
        (errno.EROFS, "Read-only file system. Choose a folder that you may write to with output=DIR."),
    ],
)
def test_a_disk_that_takes_no_more_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch, number, said):
    engine = stepped()
    save_checkpoint(tmp_path, engine, Standing(1, {}, {}))
    before = {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}

    def full(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=said):
        save_checkpoint(tmp_path, engine, Standing(2, {}, {}))
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    assert load_checkpoint(tmp_path, engine).iteration == 1


def test_a_damaged_file_says_what_there_is_instead(tmp_path):
    engine = stepped()
    save_checkpoint(tmp_path, engine, Standing(1, {}, {}))
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(OutputError, match=r"last\.pt cannot be read: .* Begin afresh with resume=false"):
        load_checkpoint(tmp_path, engine)
    save_checkpoint(tmp_path, engine, Standing(2, {}, {}))
    last.write_bytes(b"rubbish")
    with pytest.raises(OutputError, match=r"Remove it to go on from .*previous\.pt, or begin afresh"):
        load_checkpoint(tmp_path, engine)


def test_a_file_of_something_else_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    torch.save({"model": {}}, tmp_path / "checkpoints" / "last.pt")
    with pytest.raises(OutputError, match="it is no checkpoint of this version of ovseg train"):
        load_checkpoint(tmp_path, fake_engine())


def test_another_number_of_processes_is_refused(tmp_path):
    save_checkpoint(tmp_path, stepped(), Standing(1, {}, {}))
    engine = fake_engine()
    engine.processes = Processes(0, 2)
    with pytest.raises(OutputError, match=r"written by 1 processes, this run has 2.*\(ovseg train \.\.\.\)"):
        load_checkpoint(tmp_path, engine)


def test_other_frozen_weights_are_refused(tmp_path):
    save_checkpoint(tmp_path, stepped(), Standing(1, {}, {}))
    training = FakeTraining()
    with torch.no_grad():
        training.frozen.bias[0] += 1e-6
    with pytest.raises(OutputError, match="was trained on top of other frozen weights"):
        load_checkpoint(tmp_path, fake_engine(training))


@pytest.mark.parametrize("with_frozen", [True, False])
def test_results_hold_weights_and_what_is_known_of_them(tmp_path, with_frozen):
    training = FakeTraining()
    export(tmp_path / "model.pth", training, iteration=7, with_frozen=with_frozen)
    content = torch.load(tmp_path / "model.pth", weights_only=True)
    assert content["ovseg"] == {"training_vocabulary": "two"}
    assert content["iteration"] == 7
    assert ("frozen.weight" in content["model"]) == with_frozen
    assert torch.equal(content["model"]["trained.bias"], training.trained.bias.detach())
