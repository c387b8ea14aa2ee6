"""Linear layers with seeded weights, and what they should give, in float64."""

import math

import torch
from torch import Tensor


def activated(y: Tensor, activation: str) -> Tensor:
    if activation == "relu":
        return y * (y > 0)
    if activation == "gelu":
        return y / 2 * (1 + torch.erf(y / math.sqrt(2)))
    if activation == "quick_gelu":
        return y / (1 + torch.exp(-1.702 * y))
    return y


def expected(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    y = torch.einsum("...i,oi->...o", x.double(), weight.double())
    return activated(y if bias is None else y + bias.double(), activation)


def layer(inputs: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    return weight, torch.randn(outputs, generator=generator)
