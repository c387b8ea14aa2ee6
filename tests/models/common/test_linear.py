"""Linear layers and perceptrons against float64, by each backend."""

from collections.abc import Iterator

import pytest
import torch
from helpers.operations import operations
from helpers.perceptrons import expected, layer
from torch import Tensor

from ovseg.models.common import linear as module
from ovseg.models.common.linear import chosen_backend, linear, linear_backend, mlp, prepared, row_slices

ACTIVATIONS = ["none", "relu", "gelu", "quick_gelu"]
ONEDNN = "mkldnn::_linear_pointwise"
MANY = 600
"""Rows enough for oneDNN to be worth its packing."""


@pytest.fixture(params=["plain", "onednn"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with linear_backend(request.param), torch.no_grad():
        yield request.param


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(backend: str, activation: str, with_bias: bool) -> None:
    weight, bias = layer(96, 160)
    x = torch.randn(MANY, 96)
    given = bias if with_bias else None
    assert torch.allclose(
        linear(x, weight, given, activation).double(), expected(x, weight, given, activation), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(96,), (1, 96), (2, 3, 96), (2, 20, 30, 96), (0, 96), (3, 0, 96)])
def test_leading_dimensions(backend: str, shape: tuple[int, ...]) -> None:
    weight, bias = layer(96, 160)
    x = torch.randn(shape)
    y = linear(x, weight, bias, "gelu")
    assert y.shape == (*shape[:-1], 160)
    assert torch.allclose(y.double(), expected(x, weight, bias, "gelu"), atol=1e-5)


def test_each_backend_is_what_it_says(backend: str) -> None:
    weight, bias = layer(96, 160)
    used = operations(lambda: linear(torch.randn(MANY, 96), weight, bias, "gelu"))
    assert (ONEDNN in used) == (backend == "onednn")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_input_is_left_alone(backend: str, activation: str) -> None:
    weight, bias = torch.eye(128), torch.zeros(128)
    x = torch.randn(MANY, 128)
    before = x.clone()
    linear(x, weight, bias, activation)
    mlp(x, (weight, bias), (weight, bias), activation)
    assert torch.equal(x, before)


def test_any_memory_order(backend: str) -> None:
    weight, bias = layer(96, 160)
    x = torch.randn(1, 96, 20, 31).permute(0, 2, 3, 1)  # not contiguous
    turned = layer(160, 96)[0].T
    assert torch.allclose(linear(x, weight, bias).double(), expected(x, weight, bias, "none"), atol=1e-5)
    assert torch.allclose(linear(x, turned, bias).double(), expected(x, turned, bias, "none"), atol=1e-5)


def test_changed_weights_are_seen(backend: str) -> None:
    module_ = torch.nn.Linear(96, 160)
    x = torch.randn(MANY, 96)
    for change in (
        lambda: module_.weight.mul_(2),
        lambda: module_.load_state_dict(torch.nn.Linear(96, 160).state_dict()),
        lambda: module_.load_state_dict(torch.nn.Linear(96, 160).state_dict(), assign=True),
        lambda: setattr(module_.weight, "data", torch.randn(160, 96)),
    ):
        linear(x, module_.weight, module_.bias)
        change()
        y = linear(x, module_.weight, module_.bias).double()
        assert torch.allclose(y, expected(x, module_.weight, module_.bias, "none"), atol=1e-4)


def test_a_changed_number_format_is_seen(backend: str) -> None:
    module_ = torch.nn.Linear(96, 160)
    x = torch.randn(MANY, 96)
    linear(x, module_.weight, module_.bias)
    module_.to(torch.bfloat16)
    y = linear(x.bfloat16(), module_.weight, module_.bias)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.double(), expected(x.bfloat16(), module_.weight, module_.bias, "none"), atol=0.03)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bf16(backend: str, activation: str) -> None:
    weight, bias = (t.bfloat16() for t in layer(96, 160))
    x = torch.randn(MANY, 96).bfloat16()
    y = linear(x, weight, bias, activation)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.double(), expected(x, weight, bias, activation), atol=0.05)


def test_float64_goes_the_plain_way_and_stays_exact(backend: str) -> None:
    weight, bias = (t.double() for t in layer(96, 160))
    x = torch.randn(MANY, 96, dtype=torch.float64)
    assert ONEDNN not in operations(lambda: linear(x, weight, bias, "gelu"))
    assert torch.allclose(linear(x, weight, bias, "gelu"), expected(x, weight, bias, "gelu"), atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp(backend: str, activation: str) -> None:
    first, second = layer(96, 160), layer(160, 64, seed=1)
    x = torch.randn(2, MANY, 96)
    hidden = expected(x, *first, activation)
    y = mlp(x, first, second, activation)
    assert y.shape == (2, MANY, 64)
    assert torch.allclose(y.double(), expected(hidden, *second, "none"), atol=1e-5)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 1000])
def test_slices_of_a_perceptron_do_not_matter(
    backend: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, (weight, _) = layer(96, 160), layer(160, 64, seed=1)
    x = torch.randn(rows, 96)
    whole = mlp(x, first, (weight, None), "gelu")
    monkeypatch.setattr(module, "HIDDEN_BYTES", 1)
    monkeypatch.setattr(module, "SLICE_ROWS", 64)
    assert torch.allclose(mlp(x, first, (weight, None), "gelu"), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "lengths"), [(0, []), (1, [1]), (64, [64]), (65, [33, 32]), (129, [43] * 3)]
)
def test_slices_are_even(rows: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_ROWS", 16)
    monkeypatch.setattr(module, "HIDDEN_BYTES", 64 * 160 * 4)
    numbers = torch.arange(rows)[:, None].float()
    parts = [numbers[some] for some in row_slices(numbers, prepared(*layer(1, 160), rows=rows))]
    assert [len(part) for part in parts] == lengths
    assert torch.equal(torch.cat([numbers[:0], *parts]), numbers)


def test_no_rows(backend: str) -> None:
    assert mlp(torch.randn(2, 0, 96), layer(96, 160), layer(160, 64), "relu").shape == (2, 0, 64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_plain_pytorch(activation: str) -> None:
    def gradients(work) -> list[Tensor]:
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(MANY, 96, generator=generator).requires_grad_()
        leaves = [x, *(t.requires_grad_() for t in (*layer(96, 160), *layer(160, 64, seed=1)))]
        work(*leaves).square().mean().backward()
        return [leaf.grad.double() for leaf in leaves]

    def naive(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        return expected(expected(x, w1, b1, activation), w2, b2, "none")

    truth = gradients(naive)
    with linear_backend("onednn"):
        by_mlp = gradients(lambda x, w1, b1, w2, b2: mlp(x, (w1, b1), (w2, b2), activation))
        by_linear = gradients(lambda x, w1, b1, w2, b2: linear(linear(x, w1, b1, activation), w2, b2))
    for a, b, c in zip(truth, by_mlp, by_linear, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
        assert torch.allclose(a, c, atol=1e-6)


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    module._fastest.cache_clear()
    yield
    module._fastest.cache_clear()


@pytest.mark.usefixtures("fresh_choice")
@pytest.mark.parametrize(
    ("plain", "onednn", "choice"), [(3.0, 1.0, "onednn"), (1.0, 3.0, "plain"), (1.0, 1.0, "plain")]
)
def test_the_faster_backend_is_chosen_once(
    monkeypatch: pytest.MonkeyPatch, plain: float, onednn: float, choice: str
) -> None:
    measured = []

    def measure(work) -> float:
        work()
        measured.append(chosen_backend(torch.float32))
        return {"plain": plain, "onednn": onednn}[measured[-1]]

    monkeypatch.setattr(module, "seconds_of", measure)
    assert chosen_backend(torch.float32) == choice
    assert chosen_backend(torch.float32) == choice
    assert sorted(measured) == ["onednn"] * module.ROUNDS + ["plain"] * module.ROUNDS


@pytest.mark.usefixtures("fresh_choice")
@pytest.mark.parametrize(
    ("plain", "onednn", "choice"),
    [((9, 9, 1, 9), (1, 1, 1, 1), "plain"), ((2, 2, 2, 2), (9, 9, 9, 1), "onednn")],
)
def test_noise_does_not_decide(
    monkeypatch: pytest.MonkeyPatch, plain: tuple[int, ...], onednn: tuple[int, ...], choice: str
) -> None:
    seconds = iter([run for both in zip(plain, onednn, strict=True) for run in both])
    monkeypatch.setattr(module, "seconds_of", lambda work: float(next(seconds)))
    assert chosen_backend(torch.float32) == choice


@pytest.mark.usefixtures("fresh_choice")
def test_without_onednn_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(module, "seconds_of", lambda *_: pytest.fail("measured"))
    assert chosen_backend(torch.float32) == "plain"


@pytest.mark.parametrize(("there", "backend"), [(True, "onednn"), (False, "plain")])
def test_a_backend_without_timing(monkeypatch: pytest.MonkeyPatch, there: bool, backend: str) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
    monkeypatch.setattr(module, "seconds_of", lambda *_: pytest.fail("measured"))
    assert module.untimed_backend() == backend


@pytest.mark.parametrize("measured", ["plain", "onednn"])
def test_a_backend_is_forced_inside_a_context_only(monkeypatch: pytest.MonkeyPatch, measured: str) -> None:
    monkeypatch.setattr(module, "_fastest", lambda dtype, threads: measured)
    with linear_backend("onednn"):
        assert chosen_backend(torch.float32) == "onednn"
        with linear_backend("plain"):
            assert chosen_backend(torch.bfloat16) == "plain"
        with linear_backend(None):
            assert chosen_backend(torch.float32) == measured
        assert chosen_backend(torch.float32) == "onednn"
    assert chosen_backend(torch.float32) == measured


def test_best_of_leaves_out_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    runs = []
    assert module.best_of(lambda: runs.append(1), repeats=3) == 2.0
    assert len(runs) == 4


@pytest.mark.parametrize("rows", [3, 600])
def test_under_autocast_layers_follow_it(rows: int) -> None:
    """Inputs of one layer are what autocast made of the layer before, whatever the weights' format is."""
    x, weight, bias = torch.randn(rows, 32), torch.randn(32, 32) / 6, torch.randn(32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = linear(linear(x, weight, bias, "relu"), weight, bias)
        z = mlp(x, (weight, bias), (weight, bias), "relu")
    assert y.dtype == torch.bfloat16
    expected = (x @ weight.T + bias).relu() @ weight.T + bias
    assert (y.float() - expected).abs().max() < 0.1
    assert (z.float() - expected).abs().max() < 0.1
