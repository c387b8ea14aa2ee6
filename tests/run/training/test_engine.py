import math
import re

import pytest
import torch
from helpers.fake_training import FakeTraining, batch_at, fake_engine, trained_values

from ovseg.run.processes import Processes, StoppedError
from ovseg.run.training.engine import DivergedError, deterministic
from ovseg.run.training.schedule import Schedule


def test_steps_equal_those_of_plain_torch():
    """AdamW, the schedule's rate and clipping, written out for two iterations."""
    training, other = FakeTraining(), FakeTraining()
    engine = fake_engine(training, clip_norm=0.05, schedule=Schedule(2, [0.5]))
    plain = torch.optim.AdamW(other.trained.parameters(), lr=0.1, weight_decay=0.05)
    for iteration in range(2):
        batch = batch_at(range(2 * iteration, 2 * iteration + 2))
        step = engine.step(iteration, [batch])
        plain.param_groups[0]["lr"] = rate = (0.1, 0.01)[iteration]
        plain.zero_grad()
        losses = other(batch, generator=engine.generators(iteration, 0, [batch]))
        sum(losses.values()).backward()
        norm = torch.cat([p.grad.flatten() for p in other.trained.parameters()]).norm()
        for parameter in other.trained.parameters():
            parameter.grad *= min(1.0, 0.05 / float(norm))
        plain.step()
        assert step.learning_rate == pytest.approx(rate)
        assert step.losses == {key: pytest.approx(loss.item()) for key, loss in losses.items()}
        assert step.gradient_norm == pytest.approx(float(norm))
        assert float(norm) > 0.05
    torch.testing.assert_close(trained_values(training), trained_values(other), rtol=1e-4, atol=1e-5)


def test_clipping_bounds_all_gradients_together():
    training = FakeTraining()
    engine = fake_engine(training, lr=1.0, optimizer=_plain_descent, clip_norm=0.01)
    before = trained_values(training)
    engine.step(0, [batch_at(range(2))])
    assert float((trained_values(training) - before).norm()) == pytest.approx(0.01, rel=1e-3)


def _plain_descent(groups, lr):
    return torch.optim.SGD([{**group, "weight_decay": 0.0} for group in groups], lr=lr)


def test_parts_equal_one_large_batch():
    whole, parts = FakeTraining(), FakeTraining()
    large = fake_engine(whole).step(3, [batch_at(range(12, 16))])
    small = fake_engine(parts).step(3, [batch_at(range(12, 14)), batch_at(range(14, 16))])
    assert small.losses == {key: pytest.approx(value, rel=1e-5) for key, value in large.losses.items()}
    torch.testing.assert_close(trained_values(parts), trained_values(whole))


def test_a_picture_s_points_depend_on_its_place_alone():
    def seeds(engine, iteration, place, parts):
        return [g.initial_seed() for g in engine.generators(iteration, place, parts)]

    four, two = batch_at(range(4)), batch_at(range(2))
    alone = seeds(fake_engine(), 5, 0, [four])
    assert len(set(alone)) == 4
    halves = [two, two]
    assert seeds(fake_engine(), 5, 0, halves) + seeds(fake_engine(), 5, 1, halves) == alone
    ranks = [_of_two(rank) for rank in range(2)]
    assert seeds(ranks[0], 5, 0, [two]) + seeds(ranks[1], 5, 0, [two]) == alone
    assert not set(alone) & set(seeds(fake_engine(), 6, 0, [four]))
    assert not set(alone) & set(seeds(fake_engine(seed=1), 5, 0, [four]))


def _of_two(rank):
    """An engine that counts pictures as one of two processes, without the other."""
    engine = fake_engine()
    engine.processes = Processes(rank, 2)
    return engine


def test_bf16_computes_in_bf16_and_gives_nearly_the_same():
    exact, rough = FakeTraining(), FakeTraining()
    wanted = fake_engine(exact).step(0, [batch_at(range(2))])
    step = fake_engine(rough, precision="bf16").step(0, [batch_at(range(2))])
    assert set(rough.computed) == {torch.bfloat16}
    assert set(exact.computed) == {torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in rough.parameters())
    assert step.losses != wanted.losses
    assert step.losses == {key: pytest.approx(value, rel=0.02) for key, value in wanted.losses.items()}


def test_the_scaler_is_for_fp16_on_gpus():
    assert not fake_engine(precision="fp16").scaler.is_enabled()
    assert not fake_engine(precision="bf16").scaler.is_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fp16_scales_the_loss_and_skips_a_step_that_overflows():
    cuda = torch.device("cuda")
    training = FakeTraining().to(cuda)
    training._picture = lambda pixels, g: (training.trained(pixels.float()).float().sum() * 1e-6,) * 2
    engine = fake_engine(training, precision="fp16", device=cuda)
    assert engine.scaler.get_scale() == 2**16
    before = trained_values(training)
    engine.step(0, [batch_at(range(2))])
    assert set(training.computed) == set()
    assert not torch.equal(trained_values(training), before)
    training._picture = lambda pixels, g: (training.trained(pixels.float()).float().sum() * 1e4,) * 2
    engine.scaler.update(2.0**40)
    before = trained_values(training)
    engine.step(1, [batch_at(range(2))])
    assert torch.equal(trained_values(training), before)
    assert engine.scaler.get_scale() < 2**40


@pytest.mark.parametrize(("factor", "said"), [(math.nan, "loss_a is nan"), (math.inf, "loss_a is inf")])
def test_a_loss_that_is_no_number_is_named_and_changes_nothing(factor, said):
    training = FakeTraining()
    engine = fake_engine(training)
    training.broken[1] = factor
    engine.step(0, [batch_at(range(2))])
    before = trained_values(training)
    with pytest.raises(DivergedError, match=said):
        engine.step(1, [batch_at(range(2))])
    assert torch.equal(trained_values(training), before)


def test_a_gradient_that_is_no_number_is_an_error_too():
    training = FakeTraining()
    engine = fake_engine(training)
    training.trained.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = trained_values(training)
    with pytest.raises(DivergedError, match=r"the gradient is (nan|inf)"):
        engine.step(0, [batch_at(range(2))])
    assert torch.equal(trained_values(training), before)


@pytest.mark.parametrize(
    ("count", "said", "error"),
    [
        (2, "[gloo/transport/tcp/pair.cc] Connection reset by peer", StoppedError),
        (2, "mat1 and mat2 shapes cannot be multiplied", RuntimeError),
        (1, "Connection reset by peer", RuntimeError),
    ],
)
def test_the_death_of_another_process_is_said_and_nothing_else_is_taken_for_it(count, said, error):
    training = FakeTraining()

    def fail(*_):
        raise RuntimeError(said)

    training._picture = fail
    engine = fake_engine(training)
    engine.processes = Processes(0, count)
    with pytest.raises(error, match="one has died" if error is StoppedError else re.escape(said)):
        engine.step(0, [batch_at(range(2))])


def test_compiling_is_asked_of_the_module_that_is_trained(monkeypatch):
    compiled = []
    monkeypatch.setattr(FakeTraining, "compile", lambda self: compiled.append(self))
    training = FakeTraining()
    fake_engine(training)
    assert compiled == []
    fake_engine(training, compiled=True)
    assert compiled == [training]


def test_deterministic_algorithms_for_the_time_of_the_block(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
