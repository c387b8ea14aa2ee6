"""SAM's image encoder, run over the package's own modules faster and in less memory than they run themselves.

Source: SAM (arXiv 2304.02643), section 3 and appendix A; `segment_anything/modeling/image_encoder.py`. The
numbers are the same up to rounding. What differs is how they are made: attention over the whole picture
never holds its matrix (`ovseg.models.common.global_attention`), windows are attended to strip by strip, and
the zeros that pad the grid to whole windows are not multiplied by anything.

Letters: b pictures, h w grid of patches, c channels, d channels of a head.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

from ovseg.models.common.linear import Activation, PreparedLinear, linear, prepared
from ovseg.models.common.residual import add_linear, add_mlp, normed_linear
from ovseg.models.sam.attention import global_attention, windowed_attention
from ovseg.types import GlobalAttention


def encode_pixels(
    encoder: ImageEncoderViT, pixels: Float[Tensor, "b 3 H W"], valid: tuple[int, int]
) -> tuple[Float[Tensor, "b c h w"], GlobalAttention]:
    """Encode.

    Linear layers and convolutions run in the number format of their weights; the sums between blocks, norms
    and softmax stay in float32.

    Args:
        encoder: whose last block attends globally.
        pixels: the network input, normalised and padded to the encoder's square.
        valid: (rows, columns) of the grid that show the picture.

    Returns:
        The neck's output and what the last block's attention looks with, in float32.
    """
    tokens = _patches(encoder.patch_embed.proj, pixels)
    if encoder.pos_embed is not None:
        tokens += encoder.pos_embed.float()
    attention: GlobalAttention | None = None
    for block in encoder.blocks:
        tokens, attention = _block(block, tokens, valid)
    if attention is None:
        raise ValueError("The encoder's last block must attend globally.")
    return _neck(encoder.neck, tokens), _in_float32(attention)


def _patches(conv: nn.Conv2d, pixels: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w c"]:
    """The convolution whose stride is its kernel, as a product."""
    size = conv.kernel_size[0]
    patches = pixels.to(conv.weight.dtype).unfold(2, size, size).unfold(3, size, size)
    flat = patches.permute(0, 2, 3, 1, 4, 5).flatten(3)
    return linear(flat, conv.weight.flatten(1), conv.bias).float()


def _block(
    block: Block, tokens: Float[Tensor, "b h w c"], valid: tuple[int, int]
) -> tuple[Float[Tensor, "b h w c"], GlobalAttention | None]:
    """One transformer block; changes `tokens` in place."""
    rows, attention = tokens[..., 0].numel(), None
    qkv, out, down = (_prepared(layer, rows) for layer in (block.attn.qkv, block.attn.proj, block.mlp.lin2))
    up = _prepared(block.mlp.lin1, rows, "gelu")
    for part in _strips(tokens, block.window_size):
        looks = normed_linear(part, partial(_norm, block.norm1), qkv)
        if block.window_size > 0:
            heads = windowed_attention(block.attn, looks, block.window_size)
        else:
            heads, attention = global_attention(block.attn, looks, valid)
        add_linear(part, heads, out)
        add_mlp(part, part, partial(_norm, block.norm2), up, down)
    return tokens, attention


def _strips(tokens: Float[Tensor, "b h w c"], window: int) -> list[Float[Tensor, "_ _ w c"]]:
    """Views of what can go through a block by itself: on a processor, a row of windows of one picture."""
    if window == 0 or tokens.device.type != "cpu":
        return [tokens]
    return [strip for picture in tokens.split(1) for strip in picture.split(window, 1)]


def _prepared(layer: nn.Linear, rows: int, activation: Activation = "none") -> PreparedLinear:
    return prepared(layer.weight, layer.bias, activation, rows=rows)


def _neck(neck: nn.Sequential, tokens: Float[Tensor, "b h w c"]) -> Float[Tensor, "b e h w"]:
    """Two convolutions without bias, a norm over channels after each."""
    narrow, first, mix, second = cast(Sequence[Any], neck)
    x = linear(tokens.to(narrow.weight.dtype), narrow.weight.flatten(1)).float()
    x = _channel_norm(first, x).to(mix.weight.dtype)
    # Channels stay the fastest dimension in memory: a permuted view is in the channels-last format.
    x = F.conv2d(x.permute(0, 3, 1, 2), mix.weight, padding=mix.padding).permute(0, 2, 3, 1)
    return _channel_norm(second, x.float()).permute(0, 3, 1, 2).contiguous()


def _norm(norm: nn.LayerNorm, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _channel_norm(norm: LayerNorm2d, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
    return F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _in_float32(attention: GlobalAttention) -> GlobalAttention:
    row_bias, column_bias = attention.row_bias, attention.column_bias
    return GlobalAttention(
        queries=attention.queries.float(),
        keys=attention.keys.float(),
        values=attention.values.float(),
        row_bias=None if row_bias is None else row_bias.float(),
        column_bias=None if column_bias is None else column_bias.float(),
        grid=attention.grid,
        valid=attention.valid,
    )


def set_matmul_dtype(encoder: ImageEncoderViT, dtype: torch.dtype) -> None:
    """Convert the weights of linear layers and convolutions; norms and positions stay in float32."""
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
