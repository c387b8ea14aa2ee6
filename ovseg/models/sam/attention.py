"""The two attentions of SAM's image encoder, between the projections of the package's `Attention` modules.

A logit is ``queries . keys / sqrt(d)`` plus ``queries . rows[dy]`` plus ``queries . columns[dx]``: relative
positions, learned per axis, meet the queries as they are, not scaled (arXiv 2112.01526, section 4.1).

Letters: b pictures, h w grid of patches, c channels, m windows, s side of a window, d channels of a head.
"""

import torch
from jaxtyping import Float
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor

from ovseg.models.common.global_attention import attend
from ovseg.types import GlobalAttention

Positions = tuple[Float[Tensor, "h h d"], Float[Tensor, "w w d"]]
"""Of an axis, for each place of a query and each of a key, what meets the query: rows, columns."""


def global_attention(
    attention: Attention, qkv: Float[Tensor, "b h w c3"], valid: tuple[int, int]
) -> tuple[Float[Tensor, "b h w c"], GlobalAttention]:
    """Every token attends to every token: the joined heads, and what was looked with."""
    height, width = qkv.shape[1:3]
    parts = qkv.flatten(1, 2).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts.unbind()
    row_bias, column_bias = _position_bias(_positions(attention, (height, width), qkv.dtype), queries)
    seen = GlobalAttention(queries, keys, values, row_bias, column_bias, (height, width), valid)
    return attend(seen).transpose(1, 2).flatten(2).unflatten(1, (height, width)), seen


def windowed_attention(
    attention: Attention, qkv: Float[Tensor, "b h w c3"], size: int
) -> Float[Tensor, "b h w c"]:
    """Tokens attend within windows of `size` x `size`, the last ones beyond the grid; the joined heads.

    The package pads the grid with zeros, which as queries, keys and values are the bias. They are keys like
    any other, so they are put in, but after the product.
    """
    pictures, height, width, _ = qkv.shape
    padded = _padded(qkv, attention.qkv.bias, size)
    # A processor is fastest with one window, which stays in its own cache.
    at_once = 1 if qkv.device.type == "cpu" else len(padded)
    positions = _positions(attention, (size, size), qkv.dtype)
    windows = torch.cat([_attend_windows(attention, part, positions) for part in padded.split(at_once)])
    down, across = -(-height // size), -(-width // size)
    on_grid: Tensor = (
        windows.unflatten(0, (pictures, down, across)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    )
    return on_grid[:, :height, :width]


def _padded(qkv: Float[Tensor, "b h w c"], bias: Float[Tensor, " c"], size: int) -> Float[Tensor, "m s s c"]:
    """The grid as whole windows, row by row, with the bias where there is no grid."""
    pictures, height, width, channels = qkv.shape
    down, across = -(-height // size), -(-width // size)
    padded = bias.expand(pictures, down * size, across * size, channels).clone()
    padded[:, :height, :width] = qkv
    windows: Tensor = padded.unflatten(2, (across, size)).unflatten(1, (down, size)).transpose(2, 3)
    return windows.flatten(0, 2)


def _attend_windows(
    attention: Attention, qkv: Float[Tensor, "m s s c3"], positions: Positions
) -> Float[Tensor, "m s s c"]:
    grid = qkv.shape[1:3]
    parts = qkv.flatten(1, 2).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts.contiguous()
    row_bias, column_bias = _position_bias(positions, queries)
    # In float32, since adding the bias in bf16 takes five times as long.
    logits = ((queries * attention.scale) @ keys.transpose(-2, -1)).float()
    on_grid = logits.unflatten(-1, grid)
    on_grid += row_bias[..., :, None]
    on_grid += column_bias[..., None, :]
    y = torch.softmax(logits, -1).to(values.dtype) @ values
    out: Tensor = y.transpose(1, 2).flatten(2).unflatten(1, grid)
    return out


def _position_bias(
    positions: Positions, queries: Float[Tensor, "b heads n d"]
) -> tuple[Float[Tensor, "b heads n rows"], Float[Tensor, "b heads n columns"]]:
    """What the distance of each row and column of keys adds to a query's logits."""
    rows, columns = positions
    on_grid = queries.unflatten(2, (len(rows), len(columns)))
    row_bias = torch.einsum("bayxd,ykd->bayxk", on_grid, rows)
    column_bias = torch.einsum("bayxd,xkd->bayxk", on_grid, columns)
    return row_bias.flatten(2, 3), column_bias.flatten(2, 3)


def _positions(attention: Attention, grid: tuple[int, int], dtype: torch.dtype) -> Positions:
    return (
        _by_distance(attention.rel_pos_h, grid[0]).to(dtype),
        _by_distance(attention.rel_pos_w, grid[1]).to(dtype),
    )


def _by_distance(table: Float[Tensor, "distances d"], size: int) -> Float[Tensor, "q k d"]:
    """The table's row for each place of a query and each of a key; distances start at ``1 - size``."""
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place[None] + (size - 1)]
