"""SAM's mask decoder, run over the package's own modules for the first of its masks, with less arithmetic.

Source: SAM (arXiv 2304.02643), appendix A; `segment_anything/modeling/mask_decoder.py` and `transformer.py`.
The numbers are the same up to rounding. A prompt has about eight tokens, the grid 4096 places, and they
attend to each other. The package multiplies every place with the matrices of its projections; here the few
tokens are multiplied with them, since ``q (W x) = (q W) x``, and what remains to do per place is half. The
transposed convolutions do not overlap, so they are products too, and masks that nobody asked for are not
made.

Letters: n prompts, t tokens of a prompt, p places of the grid, c channels, a heads, d channels of a head.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn

from ovseg.models.common.linear import linear


def decode_first_mask(
    decoder: MaskDecoder,
    features: Float[Tensor, "1 c h w"],
    positions: Float[Tensor, "1 c h w"],
    sparse: Float[Tensor, "n t c"],
    dense: Float[Tensor, "_ c h w"],
) -> tuple[Float[Tensor, "n H W"], Float[Tensor, " n"]]:
    """The mask that is meant for prompts without ambiguity, and its predicted IoU.

    Args:
        decoder: the package's module.
        features: of the picture.
        positions: of the grid, as the prompt encoder has them.
        sparse: prompts as tokens.
        dense: prompts as maps, one for all or one for each.

    Returns:
        Mask logits at four times the grid, and scores.
    """
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], 1)
    places = _flat(features) + _flat(dense)
    tokens, places = _transform(decoder.transformer, tokens, places, _flat(positions))
    kernel = decoder.output_hypernetworks_mlps[0](tokens[:, 1])
    masks = _mask(decoder.output_upscaling, places, kernel, (features.shape[2], features.shape[3]))
    return masks, decoder.iou_prediction_head(tokens[:, 0])[:, 0]


def _flat(grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p c"]:
    # PyTorch transposes one matrix several times as fast as a batch of them.
    return torch.stack([matrix.t().contiguous() for matrix in grid.flatten(2)])


def _transform(
    transformer: TwoWayTransformer,
    prompt: Float[Tensor, "n t c"],
    places: Float[Tensor, "_ p c"],
    positions: Float[Tensor, "1 p c"],
) -> tuple[Float[Tensor, "n t c"], Float[Tensor, "n p c"]]:
    """Tokens and places after all layers; `places` may be the same for all prompts."""
    tokens = prompt
    for layer in transformer.layers:
        tokens, places = _layer(layer, tokens, prompt, places, positions)
    seen = _look(transformer.final_attn_token_to_image, tokens + prompt, places + positions, places)
    return transformer.norm_final_attn(tokens + seen), places


def _layer(
    layer: TwoWayAttentionBlock,
    tokens: Float[Tensor, "n t c"],
    prompt: Float[Tensor, "n t c"],
    places: Float[Tensor, "_ p c"],
    positions: Float[Tensor, "1 p c"],
) -> tuple[Float[Tensor, "n t c"], Float[Tensor, "n p c"]]:
    """One two-way block: tokens to tokens, tokens to places, a perceptron, places to tokens."""
    if layer.skip_first_layer_pe:
        tokens = layer.self_attn(q=tokens, k=tokens, v=tokens)
    else:
        x = tokens + prompt
        tokens = tokens + layer.self_attn(q=x, k=x, v=tokens)
    tokens = layer.norm1(tokens)
    placed = places + positions
    tokens = layer.norm2(tokens + _look(layer.cross_attn_token_to_image, tokens + prompt, placed, places))
    tokens = layer.norm3(tokens + layer.mlp(tokens))
    told = _tell(layer.cross_attn_image_to_token, placed, tokens + prompt, tokens)
    return tokens, layer.norm4(told.add_(places))


def _look(
    attention: Attention,
    queries: Float[Tensor, "n t c"],
    keys: Float[Tensor, "_ p c"],
    values: Float[Tensor, "_ p c"],
) -> Float[Tensor, "n t c"]:
    """Tokens attend to places. The keys' bias adds the same to all logits of a query, so it is left out."""
    heads = attention.num_heads
    q = attention.q_proj(queries).unflatten(-1, (heads, -1))
    folded = torch.einsum("ntad,adc->natc", q, attention.k_proj.weight.unflatten(0, (heads, -1)))
    weights = (folded.flatten(1, 2) * q.shape[-1] ** -0.5 @ keys.transpose(1, 2)).softmax(-1)
    mixed = (weights @ values).unflatten(1, (heads, -1))
    y = torch.einsum("natc,adc->ntad", mixed, attention.v_proj.weight.unflatten(0, (heads, -1)))
    out: Tensor = attention.out_proj(y.flatten(2) + attention.v_proj.bias)
    return out


def _tell(
    attention: Attention,
    queries: Float[Tensor, "_ p c"],
    keys: Float[Tensor, "n t c"],
    values: Float[Tensor, "n t c"],
) -> Float[Tensor, "n p c"]:
    """Places attend to tokens. Weights sum to 1 in every head, so the last bias is spread over the heads."""
    heads = attention.num_heads
    k = attention.k_proj(keys).unflatten(-1, (heads, -1)) * (attention.internal_dim // heads) ** -0.5
    folded = torch.einsum("ntad,adc->natc", k, attention.q_proj.weight.unflatten(0, (heads, -1)))
    constant = torch.einsum("ntad,ad->nat", k, attention.q_proj.bias.unflatten(0, (heads, -1)))
    # Places come last, because softmax over a few numbers is slow where these lie side by side.
    logits = folded.flatten(1, 2) @ queries.transpose(1, 2) + constant.flatten(1)[..., None]
    weights = logits.unflatten(1, (heads, -1)).softmax(2).flatten(1, 2)
    v = attention.v_proj(values).unflatten(-1, (heads, -1))
    mix = torch.einsum("ntad,cad->natc", v, attention.out_proj.weight.unflatten(1, (heads, -1)))
    out: Tensor = weights.transpose(1, 2) @ (mix + attention.out_proj.bias / heads).flatten(1, 2)
    return out


def _mask(
    upscaling: nn.Sequential,
    places: Float[Tensor, "n p c"],
    kernel: Float[Tensor, "n k"],
    grid: tuple[int, int],
) -> Float[Tensor, "n H W"]:
    """Each place becomes 4x4 pixels in two steps, each pixel a product with the kernel."""
    first, norm, _, second, _ = cast(Sequence[Any], upscaling)
    x = linear(places, *_as_linear(first)).unflatten(-1, (4, -1))
    x = F.gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    x = linear(x, *_as_linear(second), "gelu").unflatten(-1, (4, -1)).flatten(1, 3)
    pixels = (x @ kernel[..., None])[..., 0]
    # Down and across, by place, then by pixel of the first step, then of the second.
    nested = pixels.unflatten(1, (*grid, 2, 2, 2, 2)).permute(0, 1, 3, 5, 2, 4, 6)
    masks: Tensor = nested.flatten(4, 6).flatten(1, 3)
    return masks


def _as_linear(conv: nn.ConvTranspose2d) -> tuple[Float[Tensor, "o i"], Float[Tensor, " o"]]:
    """A transposed convolution whose kernel of 2x2 is its stride; outputs row by row, channels last."""
    bias = cast(Tensor, conv.bias)
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(4)
