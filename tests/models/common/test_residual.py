"""The steps of a residual block against the same in float64, in one slice and in several."""

from collections.abc import Iterator

import pytest
import torch
from helpers.perceptrons import expected, layer
from torch import Tensor, nn

from ovseg.models.common import linear as module
from ovseg.models.common.linear import Activation, PreparedLinear, linear_backend, prepared
from ovseg.models.common.residual import add_linear, add_mlp, normed_linear

MANY = 600
"""Rows enough for oneDNN to be worth its packing."""


@pytest.fixture(params=["plain", "onednn"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with linear_backend(request.param), torch.no_grad():
        yield request.param


@pytest.fixture(params=[1, 3])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
    monkeypatch.setattr(module, "SLICE_ROWS", -(-2 * MANY // count))
    monkeypatch.setattr(module, "HIDDEN_BYTES", 0)
    return count


def perceptron(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], activation: Activation
) -> tuple[PreparedLinear, PreparedLinear]:
    return prepared(*first, activation, rows=MANY), prepared(*second, rows=MANY)


def test_a_linear_layer_of_what_is_normed(backend: str, slices: int) -> None:
    weight, bias = layer(96, 160)
    x, norm = torch.randn(2, MANY, 96), nn.LayerNorm(96)
    y = normed_linear(x, norm, prepared(weight, bias, rows=2 * MANY))
    assert y.shape == (2, MANY, 160)
    assert torch.allclose(y.double(), expected(norm(x), weight, bias, "none"), atol=1e-5)


def test_a_linear_layer_is_added_in_place(backend: str, slices: int) -> None:
    weight, bias = layer(160, 96)
    x, y = torch.randn(2, MANY, 96), torch.randn(2, MANY, 160)
    result = x.clone()
    add_linear(result, y, prepared(weight, bias, rows=2 * MANY))
    assert torch.allclose(result.double(), x + expected(y, weight, bias, "none"), atol=1e-5)


def test_an_input_that_is_no_view_of_rows_is_refused() -> None:
    weight, bias = layer(96, 96)
    x = torch.randn(2, 96, MANY).transpose(1, 2)
    with pytest.raises(RuntimeError, match="view"):
        add_linear(x, x, prepared(weight, bias, rows=2 * MANY))


@pytest.mark.parametrize("scaled", [True, False])
def test_a_normed_perceptron_is_added_in_place(backend: str, slices: int, scaled: bool) -> None:
    first, second, scale = layer(96, 160), layer(160, 96, 1), torch.rand(96) if scaled else None
    x, y = torch.randn(2, MANY, 96), torch.randn(2, MANY, 96)
    norm = nn.LayerNorm(96)
    hidden = expected(norm(y), *first, "gelu")
    added = expected(hidden, *second, "none") * (1 if scale is None else scale)
    result = x.clone()
    add_mlp(result, y, norm, *perceptron(first, second, "gelu"), scale)
    assert torch.allclose(result.double(), x + added, atol=1e-5)


def test_a_perceptron_may_be_added_to_what_it_reads(backend: str) -> None:
    first, second = layer(96, 160), layer(160, 96, 1)
    x = torch.randn(MANY, 96)
    wanted = x + expected(expected(x, *first, "relu"), *second, "none")
    add_mlp(x, x, nn.Identity(), *perceptron(first, second, "relu"))
    assert torch.allclose(x.double(), wanted, atol=1e-5)


def test_what_is_added_in_bf16_is_summed_in_float32(backend: str) -> None:
    first, second = layer(96, 160), layer(160, 96, 1)
    rough = [(weight.bfloat16(), bias.bfloat16()) for weight, bias in (first, second)]
    x = torch.randn(MANY, 96)
    result = x.clone()
    add_mlp(result, x, nn.Identity(), *perceptron(*rough, "gelu"), torch.ones(96).bfloat16())
    added = expected(expected(x, *first, "gelu"), *second, "none")
    assert result.dtype == torch.float32
    assert (result - x - added).abs().mean() < 0.02
    assert not torch.equal(result, result.bfloat16().float())


def test_no_rows(backend: str) -> None:
    x, weight_and_bias = torch.randn(2, 0, 96), layer(96, 160)
    assert normed_linear(x, nn.Identity(), prepared(*weight_and_bias, rows=0)).shape == (2, 0, 160)
    add_mlp(x, x, nn.Identity(), *perceptron(weight_and_bias, layer(160, 96), "relu"))
    assert x.shape == (2, 0, 96)
