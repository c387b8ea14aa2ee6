"""Attention over a whole picture against its formula with the whole matrix."""

import pytest
import torch
from helpers.memory import peak_bytes

from ovseg.models.common.global_attention import attend, attention_weights, query_blocks
from ovseg.models.common.linear import linear_backend
from ovseg.types import GlobalAttention


def made(rows: int, columns: int, *, dim: int = 8, biases: bool = True) -> GlobalAttention:
    n = rows * columns
    q, k, v = torch.randn(3, 2, 3, n, dim)
    row_bias = torch.randn(2, 3, n, rows) if biases else None
    column_bias = torch.randn(2, 3, n, columns) if biases else None
    return GlobalAttention(q, k, v, row_bias, column_bias, (rows, columns), (rows, columns))


def whole_matrix(attention: GlobalAttention) -> torch.Tensor:
    q, k = attention.queries, attention.keys
    logits = (q @ k.transpose(-1, -2)) / q.shape[-1] ** 0.5
    rows, columns = attention.grid
    if attention.row_bias is not None:
        logits = logits + attention.row_bias.repeat_interleave(columns, -1)
        logits = logits + attention.column_bias.repeat(1, 1, 1, rows)
    return logits.softmax(-1)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("backend", ["plain", "onednn"])
def test_equals_the_whole_matrix(backend: str, biases: bool) -> None:
    attention = made(20, 29, biases=biases)  # more tokens than one block of queries
    with torch.no_grad(), linear_backend(backend):
        out = attend(attention)
    assert (out - whole_matrix(attention) @ attention.values).abs().max() < 2e-6


def test_weights_of_some_queries() -> None:
    attention = made(4, 6)
    weights = attention_weights(attention, 1, 2)
    chosen = torch.tensor([3, 17, 5])
    expected = whole_matrix(attention)[1, 2]
    assert (weights(chosen) - expected[chosen]).abs().max() < 1e-6
    assert (weights(slice(2, 9)) - expected[2:9]).abs().max() < 1e-6


def test_half_precision_values_stay_near() -> None:
    attention = made(9, 7)
    half = GlobalAttention(
        *(getattr(attention, part).bfloat16() for part in ("queries", "keys", "values")),
        attention.row_bias,
        attention.column_bias,
        attention.grid,
        attention.valid,
    )
    with torch.no_grad():
        out = attend(half)
    assert out.dtype == torch.bfloat16
    assert (out.float() - attend(attention)).abs().max() < 0.1


def test_the_matrix_never_exists() -> None:
    attention = made(64, 64, dim=4)
    with torch.no_grad(), linear_backend("plain"):
        peak = peak_bytes(lambda: attend(attention))
    assert peak < 4096 * 4096 * 4 / 4


def test_blocks_cover_all_queries() -> None:
    blocks = list(query_blocks(1000, torch.device("cpu")))
    assert [i for block in blocks for i in range(1000)[block]] == list(range(1000))
    assert blocks[-1].stop == 1000
