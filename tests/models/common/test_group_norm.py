"""Group norm of channels-last features against its formula in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg.models.common.group_norm import group_norm


def norm_of(channels: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(4, channels, eps=1e-5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def expected(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    groups = x.double().reshape(x.shape[0], norm.num_groups, -1)
    mean = groups.mean(-1, keepdim=True)
    variance = (groups - mean).square().mean(-1, keepdim=True)
    y = ((groups - mean) / (variance + norm.eps).sqrt()).view_as(x)
    return y * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("size", [(2, 16, 7, 9), (1, 8, 60, 70), (3, 8, 1, 2)])
def test_the_formula(size: tuple[int, ...], channels_last: bool, relu: bool, grad: bool) -> None:
    norm = norm_of(size[1])
    x = torch.randn(size) * 3 + 5
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    truth = expected(norm, x).detach()
    with torch.set_grad_enabled(grad):
        y = group_norm(norm, x, relu=relu)
    assert y.shape == x.shape
    assert torch.allclose(y.double(), truth.clamp(min=0) if relu else truth, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_nearly_constant_features_keep_their_digits(grad: bool) -> None:
    """What torch's own channels-last kernel loses."""
    norm = norm_of(8)
    x = (1000 + torch.rand(1, 8, 40, 50)).contiguous(memory_format=torch.channels_last)
    truth = expected(norm, x).detach()
    with torch.set_grad_enabled(grad):
        assert torch.allclose(group_norm(norm, x).double(), truth, atol=2e-3)


def test_gradients() -> None:
    norm = norm_of(8)
    x = torch.randn(2, 8, 5, 6, requires_grad=True)
    group_norm(norm, x, relu=True).square().sum().backward()
    found = [x.grad, norm.weight.grad, norm.bias.grad]
    x.grad = norm.weight.grad = norm.bias.grad = None
    F.relu(expected(norm, x)).square().sum().backward()
    for a, b in zip(found, [x.grad, norm.weight.grad, norm.bias.grad], strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
