"""The small CLIPs as they are trained: open_clip's modules, looked at where ovseg's methods look at them.

A box is pooled before the last projection, as FC-CLIP pools masks and Trident sums values: what the methods
do with regions is what is trained.

Letters: b pictures, n boxes, c channels, e text-space dimensions, h w a grid.
"""

from collections.abc import Callable, Sequence

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ovseg.models.clip_vit.tower import block_layers
from ovseg.models.common.positions import resize_positions

Likeness = Callable[[Tensor], Tensor]
"""Normalised pictures (b, 3, H, W) to how much each patch takes of each patch of its picture, (b, m, m)."""


def encode_captions(clip: open_clip.CLIP, tokenizer: SimpleTokenizer, captions: Sequence[str]) -> Tensor:
    """As `open_clip.CLIP.encode_text` (n, e), not normalised, without the padding; equal captions once."""
    place = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    tokens = tokenizer(list(place))
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    device = clip.positional_embedding.device
    tokens, ends = tokens[:, :length].to(device), ends.to(device)
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's gradient is slow for short rows on a CPU
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
    encoded = x[torch.arange(len(x), device=device), ends] @ clip.text_projection
    return encoded[torch.tensor([place[caption] for caption in captions], device=device)]


def encode_pictures(
    clip: open_clip.CLIP, pictures: Tensor, boxes: Tensor, owners: Tensor, likeness: Likeness | None = None
) -> tuple[Tensor, Tensor]:
    """Whole pictures (b, e) and boxes in them (n, e), not normalised.

    Args:
        clip: with a ConvNeXt or a ViT.
        pictures: normalised, (b, 3, H, W).
        boxes: (n, 4) left, top, right, bottom in pixels.
        owners: (n,) of each box, the picture.
        likeness: sums a ViT's values before they are pooled, as ProxyCLIP does; None leaves them alone.
    """
    if hasattr(clip.visual, "trunk"):
        return _encode_convnext(clip, pictures, boxes, owners)
    return _encode_vit(clip, pictures, boxes, owners, likeness)


def _encode_convnext(
    clip: open_clip.CLIP, pictures: Tensor, boxes: Tensor, owners: Tensor
) -> tuple[Tensor, Tensor]:
    tower = clip.visual
    dense = tower.trunk.forward_features(pictures.contiguous(memory_format=torch.channels_last))
    pooled = torch.cat([dense.mean((-2, -1)), box_means(dense, boxes, owners, stride=32)])
    norm = tower.trunk.head.norm
    normed = F.layer_norm(pooled, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    whole, parts = tower.head(normed).split([len(pictures), len(boxes)])
    return whole, parts


def _encode_vit(
    clip: open_clip.CLIP, pictures: Tensor, boxes: Tensor, owners: Tensor, likeness: Likeness | None
) -> tuple[Tensor, Tensor]:
    tower = clip.visual
    patches = tower.conv1(pictures)
    grid = (patches.shape[-2], patches.shape[-1])
    tokens = patches.flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(len(tokens), 1, -1), tokens], 1)
    x = tower.ln_pre(x + resize_positions(tower.positional_embedding, tower.grid_size, grid))
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        x = _run_block(block, x, x)
    whole = _run_block(last, x, x[:, :1])[:, 0]
    layers = block_layers(last)
    third = x.shape[-1]
    weight, bias = layers.qkv[0][2 * third :], layers.qkv[1][2 * third :]
    values = F.linear(layers.norm1(x[:, 1:]), weight, bias)
    if likeness is not None and len(boxes):
        values = likeness(pictures).to(values.dtype) @ values
    as_map = values.transpose(1, 2).unflatten(2, grid)
    parts = F.linear(box_means(as_map, boxes, owners, stride=tower.patch_size[0]), *layers.out)
    projected = tower.ln_post(torch.cat([whole, parts.to(whole.dtype)])) @ tower.proj
    return projected[: len(whole)], projected[len(whole) :]


def _run_block(block: nn.Module, x: Tensor, asking: Tensor) -> Tensor:
    """One of the ViT's blocks for the tokens that ask, which are among x; attention in float32."""
    layers = block_layers(block)
    weight, bias = layers.qkv
    width = x.shape[-1]

    def heads(tokens: Tensor, rows: slice) -> Tensor:
        made = F.linear(layers.norm1(tokens), weight[rows], bias[rows])
        return made.float().unflatten(-1, (layers.heads, -1)).transpose(1, 2)

    # On a CPU the fused attention's gradient is slower in bfloat16.
    query, key, value = (
        heads(asking, slice(width)),
        heads(x, slice(width, 2 * width)),
        heads(x, slice(2 * width, None)),
    )
    seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    asking = asking + F.linear(seen, *layers.out)
    return asking + block.mlp(layers.norm2(asking))


def box_means(features: Tensor, boxes: Tensor, owners: Tensor, *, stride: int) -> Tensor:
    """Mean of a map (b, c, h, w) over each box (n, 4), cells weighted by what the box covers: (n, c)."""
    rows = _cover(boxes[:, 1], boxes[:, 3], features.shape[-2], stride)
    columns = _cover(boxes[:, 0], boxes[:, 2], features.shape[-1], stride)
    chosen = features[owners].to(rows.dtype)
    return torch.einsum("nchw,nh,nw->nc", chosen, rows, columns)


def _cover(start: Tensor, end: Tensor, cells: int, stride: int) -> Tensor:
    edges = torch.arange(cells, device=start.device) * stride
    cover = torch.minimum(end[:, None], edges + stride) - torch.maximum(start[:, None], edges)
    cover = cover.clamp(min=0)
    return cover / cover.sum(1, keepdim=True).clamp(min=1e-6)
