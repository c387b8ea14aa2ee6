"""Multi-scale deformable attention in plain PyTorch.

Source: Zhu et al., Deformable DETR (arXiv 2010.04159), equation 3; as used by Mask2Former's pixel decoder. The
official code samples with a compiled CUDA extension, or with `grid_sample` per level; here are the same sums in
two ways: `grid_sample` (any device, with gradients), and one weighted `embedding_bag` over all levels, corners and
points at once, which on a CPU is several times faster because every sampled feature is one contiguous row.

Letters: b pictures, n queries, s feature positions of all levels together, m heads, l levels, p points, d channels
of a head.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.models.common.linear import linear


class DeformableAttention(nn.Module):
    """Each query looks at a few learned places around its own position on every level.

    Args:
        dim: channels; `heads` must divide it.
        heads, levels, points: places per query are levels x points, for each head.
    """

    def __init__(self, *, dim: int, heads: int = 8, levels: int = 3, points: int = 4) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(
        self,
        query: Float[Tensor, "b n c"],
        value: Float[Tensor, "b s c"],
        references: Float[Tensor, "n 2"],
        sizes: Sequence[tuple[int, int]],
    ) -> Float[Tensor, "b n c"]:
        """Attend.

        Args:
            query: with positions added.
            value: the features of all levels, level by level, row by row.
            references: (x, y) of each query in 0..1 of the picture.
            sizes: (height, width) of each level.
        """
        places = (self.heads, self.levels, self.points)
        offsets = linear(query, self.sampling_offsets.weight, self.sampling_offsets.bias)
        offsets = offsets.unflatten(-1, (*places, 2))
        scale = torch.tensor([(w, h) for h, w in sizes], dtype=query.dtype, device=query.device)
        locations = references[None, :, None, None, None] + offsets / scale[:, None]
        weights = linear(query, self.attention_weights.weight, self.attention_weights.bias)
        weights = weights.unflatten(-1, (self.heads, -1)).softmax(-1).unflatten(-1, places[1:])
        rows = linear(value, self.value_proj.weight, self.value_proj.bias).unflatten(-1, (self.heads, -1))
        slow = value.device.type != "cpu" or torch.is_grad_enabled()
        sample = sample_by_grid if slow else sample_by_bag
        sampled = sample(rows, locations, weights, sizes)
        return linear(sampled, self.output_proj.weight, self.output_proj.bias)


def sample_by_grid(
    value: Float[Tensor, "b s m d"],
    locations: Float[Tensor, "b n m l p 2"],
    weights: Float[Tensor, "b n m l p"],
    sizes: Sequence[tuple[int, int]],
) -> Float[Tensor, "b n md"]:
    """Weighted sum of bilinear samples, zero outside; `locations` are (x, y) in 0..1 of the picture."""
    batch, queries, heads, _, points, _ = locations.shape
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (l, b m, n, p, 2)
    levels = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=-1)
    samples = [
        F.grid_sample(level.unflatten(-1, size), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        for level, size, grid in zip(levels, sizes, grids, strict=True)
    ]  # each (b m, d, n, p)
    mixing = weights.permute(0, 2, 1, 3, 4).reshape(batch * heads, 1, queries, -1)
    mixed = (torch.cat(samples, -1) * mixing).sum(-1)
    return mixed.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).flatten(2)


def sample_by_bag(
    value: Float[Tensor, "b s m d"],
    locations: Float[Tensor, "b n m l p 2"],
    weights: Float[Tensor, "b n m l p"],
    sizes: Sequence[tuple[int, int]],
) -> Float[Tensor, "b n md"]:
    """What `sample_by_grid` does, as sums of rows of one table; corners outside get weight zero."""
    batch, positions, heads, _ = value.shape
    rows, factors = [], []
    start = 0
    for level, (height, width) in enumerate(sizes):
        x = locations[..., level, :, 0] * width - 0.5  # (b, n, m, p), in cells
        y = locations[..., level, :, 1] * height - 0.5
        left, top = x.floor(), y.floor()
        right_part, low_part = x - left, y - top
        for down in (0, 1):
            row = top + down
            row_factor = low_part if down else 1 - low_part
            row_factor = row_factor * ((row >= 0) & (row < height)) * weights[..., level, :]
            row_start = row.clamp(0, height - 1) * width + start
            for across in (0, 1):
                column = left + across
                factor = right_part if across else 1 - right_part
                factors.append(factor * row_factor * ((column >= 0) & (column < width)))
                rows.append((row_start + column.clamp(0, width - 1)).to(torch.int32))
        start += height * width
    head = torch.arange(heads, dtype=torch.int32, device=value.device)
    picture = torch.arange(batch, dtype=torch.int32, device=value.device)[:, None, None, None]
    index = (torch.cat(rows, -1) + picture * positions) * heads + head[:, None]  # (b, n, m, 4 l p)
    sampled = F.embedding_bag(
        index.flatten(0, 2),
        value.flatten(0, 2),
        mode="sum",
        per_sample_weights=torch.cat(factors, -1).flatten(0, 2),
    )
    return sampled.unflatten(0, index.shape[:3]).flatten(2)
