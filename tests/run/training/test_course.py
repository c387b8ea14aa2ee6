import csv
from types import SimpleNamespace

import pytest
import torch
from helpers.fake_training import FakeLoader, FakeTraining, fake_engine, trained_values

from ovseg.run.training.checkpoints import load_checkpoint
from ovseg.run.training.course import Course
from ovseg.run.training.engine import DivergedError
from ovseg.run.training.evaluation import chosen_score
from ovseg.schema import TrainingConfig


def settings(**given):
    base = {"iterations": 8, "save_every": 3, "evaluate_every": 0, "log_every": 2, "loggers": []}
    return TrainingConfig(**{**base, **given})


def course(folder, training=None, examiner=None, **given):
    folder.mkdir(exist_ok=True)
    engine = fake_engine(training or FakeTraining())
    return Course(engine, FakeLoader(), folder, settings(**given), examiner)


def rows(folder):
    with (folder / "log.csv").open() as file:
        return [
            {key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_stopped_goes_on_bit_for_bit(tmp_path, accumulate):
    whole = course(tmp_path / "whole", accumulate=accumulate)
    whole.run()
    training = FakeTraining()
    training.broken[5 * accumulate] = float("nan")  # in the sixth iteration, two after a checkpoint
    with pytest.raises(DivergedError):
        course(tmp_path / "stopped", training, accumulate=accumulate).run()
    resumed = course(tmp_path / "stopped", FakeTraining(seed=0), accumulate=accumulate)
    torch.rand(5)  # whatever else a new process does
    resumed.run()
    assert next(resumed.engine.training.calls) == 5 * accumulate
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == 4
    assert torch.equal(trained_values(resumed.engine.training), trained_values(whole.engine.training))


def test_a_finished_run_is_left_as_it_is(tmp_path):
    first = course(tmp_path)
    first.run()
    again = course(tmp_path)
    again.run()
    assert next(again.engine.training.calls) == 0
    assert torch.equal(trained_values(again.engine.training), trained_values(first.engine.training))


def test_divergence_names_the_iteration_the_loss_the_checkpoint_and_what_to_try(tmp_path):
    training = FakeTraining()
    training.broken[4] = float("nan")
    with pytest.raises(DivergedError) as caught:
        course(tmp_path, training).run()
    said = str(caught.value)
    assert said.startswith("Training has diverged at iteration 5: loss_a is nan. ")
    assert f"The last checkpoint, {tmp_path}/checkpoints/last.pt, is from before." in said
    assert "training.learning_rate=0.05" in said
    assert "ovseg check data" in said
    assert load_checkpoint(tmp_path, fake_engine()).iteration == 3


def test_divergence_before_any_checkpoint(tmp_path):
    training = FakeTraining()
    training.broken[0] = float("inf")
    with pytest.raises(DivergedError, match=r"at iteration 1: loss_a is inf\. There is no checkpoint yet\."):
        course(tmp_path, training).run()


class Examiner:
    """Gives the scores that it is told to, and keeps when it was asked."""

    def __init__(self, scores):
        self.given, self.asked = scores, []

    def scores(self, iteration):
        self.asked.append(iteration)
        return {"fake/F": self.given[iteration], "fake/G": 0.0}

    def forget(self, iteration): ...


def test_the_weights_of_the_best_evaluation_are_kept(tmp_path):
    examiner = Examiner({2: 10.0, 4: 30.0, 6: 20.0, 8: float("nan")})
    course(tmp_path, examiner=examiner, evaluate_every=2, save_every=100).run()
    assert examiner.asked == [2, 4, 6, 8]
    assert torch.load(tmp_path / "best.pth", weights_only=True)["iteration"] == 4
    assert torch.load(tmp_path / "model.pth", weights_only=True)["iteration"] == 8


def test_a_resumed_run_knows_the_best_so_far(tmp_path):
    training = FakeTraining()
    training.broken[4] = float("nan")
    with pytest.raises(DivergedError):
        course(tmp_path, training, Examiner({2: 10.0, 4: 30.0}), evaluate_every=2).run()
    examiner = Examiner({4: 30.0, 6: 20.0, 8: 25.0})
    course(tmp_path, examiner=examiner, evaluate_every=2).run()
    assert examiner.asked == [4, 6, 8]  # the one at 4 may have been cut short
    assert torch.load(tmp_path / "best.pth", weights_only=True)["iteration"] == 4


@pytest.mark.parametrize("other", [{"best": "fake/G"}, {"evaluate_pictures": 5}])
def test_values_of_different_things_are_not_compared(tmp_path, other):
    training = FakeTraining()
    training.broken[4] = float("nan")
    with pytest.raises(DivergedError):
        course(tmp_path, training, Examiner({2: 30.0, 4: 20.0}), evaluate_every=2).run()
    examiner = Examiner({4: 0.0, 6: -1.0, 8: -2.0})
    course(tmp_path, examiner=examiner, evaluate_every=2, **other).run()
    assert torch.load(tmp_path / "best.pth", weights_only=True)["iteration"] == 4


def test_the_last_iteration_is_evaluated_whenever_any_is(tmp_path):
    examiner = Examiner({5: 1.0, 8: 2.0})
    course(tmp_path, examiner=examiner, evaluate_every=5).run()
    assert examiner.asked == [5, 8]


@pytest.mark.parametrize(
    ("best", "found"),
    [(None, ("a/X", 1.0)), ("b/Y", ("b/Y", 2.0)), ("a/Z", None), ("c/N", None)],
)
def test_which_score_decides(best, found):
    assert chosen_score({"a/X": 1.0, "b/Y": 2.0, "c/N": float("nan")}, best) == found


def test_lines_say_loss_rate_and_waiting(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ovseg.progress.FIRST_LINE_AFTER", 0.0)
    clock = iter(map(float, range(1000)))
    monkeypatch.setattr("ovseg.run.training.course.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    course(tmp_path, iterations=3).run()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Training: 3/3 iterations (100 %), ")
    assert ", at 3, loss " in last
    assert last.endswith(", 2.00 s each, data 50%")
