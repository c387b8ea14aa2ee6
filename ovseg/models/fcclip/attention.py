"""Attention of the mask decoder: multi-head, and the perceptrons and positions around it.

Letters: b pictures, n queries, m keys, c channels, h w a feature grid.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ovseg.models.common.linear import linear
from ovseg.models.fcclip.initial import xavier


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention; parameters are named as in `torch.nn.MultiheadAttention`."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        xavier(self.out_proj)

    def forward(
        self,
        query: Float[Tensor, "b n c"],
        key: Float[Tensor, "b m c"],
        value: Float[Tensor, "b m c"],
        blocked: Bool[Tensor, "b n m"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Attend; `blocked` is true where a query must not look, the same for all heads."""
        inputs = (query, key, value)
        q, k, v = (
            linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, weight, bias in zip(
                inputs, self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True
            )
        )
        allowed = None if blocked is None else ~blocked[:, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return linear(y.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)


class Perceptron(nn.Module):
    """Linear layers with ReLU between them, none after the last."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        """Apply all layers."""
        *hidden, last = cast(Sequence[nn.Linear], self.layers)
        for layer in hidden:
            x = linear(x, layer.weight, layer.bias, "relu")
        return linear(x, last.weight, last.bias)


def sine_positions(height: int, width: int, dim: int, *, device: torch.device) -> Float[Tensor, "1 c h w"]:
    """Fixed sine and cosine positions; the first half of the channels codes the row, the second the column.

    Each axis is counted from 1 and scaled to 2 pi; channel i of an axis is the sine (i even) or cosine (i
    odd) of position / 10000^(2 floor(i / 2) / (dim / 2)).

    Source: Mask2Former, `position_encoding.py`; the 1e-6 of the scale is the official code's.
    """
    channels = torch.arange(dim // 2, device=device)
    frequency = 10000.0 ** (2 * (channels // 2) / (dim // 2))

    def axis(size: int) -> Float[Tensor, "n c"]:
        place = torch.arange(1, size + 1, device=device, dtype=torch.float32)
        angle = (place / (size + 1e-6) * (2 * math.pi))[:, None] / frequency
        return torch.where(channels % 2 == 0, angle.sin(), angle.cos())

    rows = axis(height)[:, None].expand(-1, width, -1)
    columns = axis(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).permute(2, 0, 1)[None]
