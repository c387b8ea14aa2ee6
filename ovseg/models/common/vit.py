"""Plain vision transformers, run without gradients, whoever's module holds their weights.

Source: An Image is Worth 16x16 Words (arXiv 2010.11929), section 3.1. Differs from the modules of timm and
open_clip in speed and memory only: batch first, one product for queries, keys and values, fused attention,
blocks in slices of rows. The sums of the residual branches and the norms stay in float32 whatever the
number format of the matrix products.

Letters: b pictures, n tokens (the class token first), c channels, d channels of a head, h w a grid.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.models.common.linear import Activation, linear, mlp, prepared
from ovseg.models.common.residual import add_linear, add_mlp, normed_linear

Layer = tuple[Tensor, Tensor | None]
"""Weight (outputs, inputs) and bias of a linear layer."""

ROWS_AT_ONCE = 3072
"""Tokens of whole pictures that go through all of a block together on a processor."""

LOGITS_AT_ONCE = 1 << 20
"""Of attention in bf16 on a processor: 2 MiB, which stay in its cache from one product to the next."""


@dataclass(frozen=True)
class BlockLayers:
    """The layers of one pre-norm transformer block.

    Attributes:
        norm1: before attention.
        qkv: to queries, keys and values, below one another in the weight.
        out: from the joined heads back to the tokens.
        norm2: before the perceptron.
        up: the perceptron's first layer.
        down: the perceptron's second layer.
        heads: of the attention.
        activation: of the perceptron.
    """

    norm1: nn.LayerNorm
    qkv: Layer
    out: Layer
    norm2: nn.LayerNorm
    up: Layer
    down: Layer
    heads: int
    activation: Activation

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the matrix products."""
        return self.qkv[0].dtype


def embed(
    images: Float[Tensor, "b 3 H W"], patches: nn.Conv2d, positions: Float[Tensor, "n c"], cls: Tensor
) -> Float[Tensor, "b n c"]:
    """Pictures to the tokens before the first block, in float32.

    Args:
        images: normalised; both sides multiples of the patch.
        patches: the convolution that embeds them.
        positions: of the class token and of the pictures' grid.
        cls: the class token, (c,) in any number of dimensions.
    """
    embedded = patches(images.to(patches.weight.dtype)).flatten(2).transpose(1, 2)
    tokens = positions.expand(len(images), -1, -1).clone()
    tokens[:, 0] += cls.flatten()
    tokens[:, 1:] += embedded
    return tokens


def run_block(block: BlockLayers, x: Float[Tensor, "b n c"]) -> None:
    """Attention and perceptron, each added to what it is given, in place.

    Raises:
        RuntimeError: the tokens of `x` do not follow one another in memory.
    """
    pictures, tokens = x.shape[:2]
    rows = pictures * tokens
    qkv, out, down = (prepared(*layer, rows=rows) for layer in (block.qkv, block.out, block.down))
    up = prepared(*block.up, block.activation, rows=rows)
    at_once = pictures if x.device.type != "cpu" else max(1, ROWS_AT_ONCE // tokens)
    for some in x.split(max(1, at_once)):
        q, k, v = _heads(block, normed_linear(some, partial(layer_norm, block.norm1), qkv))
        add_linear(some, _joined(attend(q, k, v)), out)
        add_mlp(some, some, partial(layer_norm, block.norm2), up, down)


def attend(
    q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads n d"], v: Float[Tensor, "b heads n d"]
) -> Float[Tensor, "b heads n d"]:
    """``softmax(q k' / sqrt(d)) v``.

    PyTorch's fused kernel is the fastest, save for bf16 on a processor, where two products with the softmax
    between take two thirds of its time. Logits are rounded to bf16 there.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v)
    pictures, heads, tokens, channels = q.shape
    out = q.new_empty(pictures, tokens, heads, channels).transpose(1, 2)
    step = max(1, LOGITS_AT_ONCE // tokens**2)
    for picture in range(pictures):
        for start in range(0, heads, step):
            some = slice(start, start + step)
            logits = q[picture, some] * channels**-0.5 @ k[picture, some].transpose(1, 2)
            out[picture, some] = torch.softmax(logits, -1) @ v[picture, some]
    return out


def query_key_value(
    block: BlockLayers, x: Float[Tensor, "b n c"]
) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
    """What the block's attention compares and sums, of the normed tokens."""
    qkv = prepared(*block.qkv, rows=x.shape[0] * x.shape[1])
    return _heads(block, normed_linear(x, partial(layer_norm, block.norm1), qkv))


def _heads(block: BlockLayers, qkv: Float[Tensor, "b n c3"]) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv.unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    return q, k, v


def values(block: BlockLayers, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
    """The values alone, heads side by side."""
    weight, bias = block.qkv
    third = weight.shape[0] // 3
    rows = slice(2 * third, None)
    return linear(
        layer_norm(block.norm1, x).to(block.dtype), weight[rows], None if bias is None else bias[rows]
    )


def project_heads(block: BlockLayers, heads: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
    """Join the heads and project them, to float32."""
    return linear(_joined(heads), *block.out).float()


def _joined(heads: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
    side_by_side: Tensor = heads.transpose(1, 2).flatten(2)
    return side_by_side


def feed_forward(block: BlockLayers, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
    """The perceptron of the normed tokens, without the residual sum, in float32."""
    y = layer_norm(block.norm2, x).to(block.dtype)
    return mlp(y, block.up, block.down, block.activation).float()


def layer_norm(norm: nn.LayerNorm, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
    """The norm in float32."""
    normed: Tensor = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return normed


def as_map(tokens: Float[Tensor, "b n c"], grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Tokens without the class token, row by row, to a map."""
    rows_first: Tensor = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
    return rows_first


def grid_of(images: Float[Tensor, "b 3 H W"], patch: int, *, encoder: str) -> tuple[int, int]:
    """(rows, columns) of the pictures' patches.

    Raises:
        ConfigError: a side is no multiple of the patch.
    """
    height, width = images.shape[-2:]
    if height % patch or width % patch or not height or not width:
        raise ConfigError(
            f"{encoder} cuts pictures into patches of {patch} x {patch} pixels and was given "
            f"{height} x {width}. "
            f"Both sides must be multiples of {patch}, for example "
            f"{max(patch, round(height / patch) * patch)} x {max(patch, round(width / patch) * patch)}."
        )
    return height // patch, width // patch


def set_matrix_dtype(module: nn.Module, dtype: torch.dtype) -> None:
    """Put the weights of matrix products into another number format; norms and embeddings stay float32."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear, nn.MultiheadAttention)):
            part.to(dtype)
