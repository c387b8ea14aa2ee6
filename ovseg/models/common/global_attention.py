"""Self-attention over a whole picture with relative positions, without the matrix of all its tokens.

With 64x64 tokens that matrix has 16.8 million entries per head. Here some hundred rows of one head exist at a
time, which stay in the processor's cache from the product to the softmax to the next product.

Letters: b pictures, n tokens of the grid, r some of them as queries, d channels of a head.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovseg.models.common.linear import prepared
from ovseg.types import GlobalAttention

CPU_ROWS = 256
"""Queries at a time: 4 MiB of float32 weights over 4096 keys."""
GPU_ROWS = 4096

Weights = Callable[[slice | Int[Tensor, " r"]], Float[Tensor, "r n"]]
"""Indices of queries to their softmax weights over all keys; a new tensor at each call."""


def attend(attention: GlobalAttention) -> Float[Tensor, "b heads n d"]:
    """What every position gets: the values, weighted; in the number format of the values.

    In memory the heads of a position lie side by side, as the projection that follows reads them.
    """
    values = attention.values
    pictures, heads, tokens, channels = values.shape
    out = values.new_empty(pictures, tokens, heads, channels).transpose(1, 2)
    for picture in range(pictures):
        for head in range(heads):
            weights = attention_weights(attention, picture, head)
            mix = prepared(values[picture, head].transpose(0, 1), None, rows=tokens)
            seen = out[picture, head]
            for rows in query_blocks(tokens, values.device):
                seen[rows] = mix(weights(rows))
    return out


def attention_weights(attention: GlobalAttention, picture: int, head: int) -> Weights:
    """One head's weights as a function of the queries, so that no more of them exist than are looked at.

    They and their logits are in the number format of the queries; the softmax between them is in float32.
    """
    queries, keys = attention.queries[picture, head], attention.keys[picture, head]
    scaled = queries * queries.shape[-1] ** -0.5
    multiply = prepared(keys, None, rows=keys.shape[0])
    biases = [
        bias[picture, head].unsqueeze(axis)
        for bias, axis in ((attention.row_bias, 2), (attention.column_bias, 1))
        if bias is not None
    ]

    def weights(rows: slice | Int[Tensor, " r"]) -> Float[Tensor, "r n"]:
        logits = multiply(scaled[rows])
        on_grid = logits.view(-1, *attention.grid)
        for bias in biases:
            on_grid += bias[rows]
        return torch.softmax(logits, -1)

    return weights


def query_blocks(count: int, device: torch.device) -> Iterator[slice]:
    """Ranges that cover `count` queries, as many at a time as are fast on a device."""
    step = CPU_ROWS if device.type == "cpu" else GPU_ROWS
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
