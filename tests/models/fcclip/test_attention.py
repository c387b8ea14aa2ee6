"""Attention, perceptrons and positions against torch's own modules and the formula."""

import math

import pytest
import torch
from torch import Tensor, nn

from ovseg.models.fcclip.attention import MultiHeadAttention, Perceptron, sine_positions


@pytest.fixture(params=[True, False], ids=["grad", "no grad"])
def _grad(request: pytest.FixtureRequest):
    with torch.set_grad_enabled(request.param):
        yield


def pair(dim: int, heads: int) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    theirs = nn.MultiheadAttention(dim, heads, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    ours = MultiHeadAttention(dim=dim, heads=heads)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.usefixtures("_grad")
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_torch_s(heads: int, masked: bool) -> None:
    ours, theirs = pair(32, heads)
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    blocked = torch.rand(2, 5, 7) < 0.5 if masked else None
    if blocked is not None:
        blocked[..., 0] = False  # nobody looks at nothing
    mask = None if blocked is None else blocked.repeat_interleave(heads, 0)
    expected, _ = theirs(query, key, value, attn_mask=mask)
    assert torch.allclose(ours(query, key, value, blocked), expected, atol=1e-5)


def test_blocked_keys_are_not_looked_at() -> None:
    ours, _ = pair(16, 2)
    query, memory = torch.randn(1, 3, 16), torch.randn(1, 4, 16)
    blocked = torch.tensor([False, True, False, True]).expand(1, 3, 4)
    changed = memory.clone()
    changed[:, [1, 3]] = 100.0
    before, after = (ours(query, given, given, blocked) for given in (memory, changed))
    assert torch.allclose(before, after, atol=1e-6)
    assert not torch.allclose(before, ours(query, memory, memory), atol=1e-3)


def test_the_names_of_its_parameters_are_torch_s() -> None:
    ours, theirs = pair(16, 2)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


@pytest.mark.usefixtures("_grad")
@pytest.mark.parametrize("sizes", [(4, 3), (5, 7, 2), (6, 6, 6, 8)])
def test_perceptron(sizes: tuple[int, ...]) -> None:
    made = Perceptron(*sizes)
    x = torch.randn(2, 3, sizes[0])
    expected = x.double()
    for index, layer in enumerate(made.layers):
        expected = expected @ layer.weight.double().T + layer.bias.double()
        if index < len(sizes) - 2:
            expected = expected.clamp(min=0)
    assert torch.allclose(made(x).double(), expected, atol=1e-5)
    assert (made(x) < 0).any()


def naive_positions(height: int, width: int, dim: int) -> Tensor:
    """Channel by channel; rows in the first half."""
    half = dim // 2
    result = torch.empty(dim, height, width, dtype=torch.float64)
    for channel in range(dim):
        i = channel % half
        frequency = 10000 ** (2 * (i // 2) / half)
        wave = math.sin if i % 2 == 0 else math.cos
        for row in range(height):
            for column in range(width):
                place, size = (row, height) if channel < half else (column, width)
                angle = (place + 1) / (size + 1e-6) * 2 * math.pi / frequency
                result[channel, row, column] = wave(angle)
    return result


@pytest.mark.parametrize(("height", "width", "dim"), [(5, 7, 16), (1, 1, 8), (3, 9, 12), (4, 2, 4)])
def test_sine_positions(height: int, width: int, dim: int) -> None:
    positions = sine_positions(height, width, dim, device=torch.device("cpu"))
    assert positions.shape == (1, dim, height, width)
    assert positions.dtype == torch.float32
    assert torch.allclose(positions[0].double(), naive_positions(height, width, dim), atol=1e-5)
