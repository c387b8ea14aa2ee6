"""Multi-scale deformable attention in plain PyTorch.

Source: Zhu et al., Deformable DETR (arXiv 2010.04159), equation 3; as used by Mask2Former's pixel decoder.
The official code samples with a compiled CUDA extension, or with `grid_sample` per level; here are the same
sums in two ways: `grid_sample` (any device, with gradients), and one weighted `embedding_bag` over all
levels, corners and points at once, which on a CPU is several times faster because every sampled feature is
one contiguous row.

Letters: b pictures, n queries, s feature positions of all levels together, m heads, l levels, p points, d
channels of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ovseg.models.common.linear import linear
from ovseg.models.fcclip.initial import star, xavier

QUERIES_PER_SLICE = 1024
"""Queries whose places are worked out together: their arrays stay in the cache."""


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
        star(self.sampling_offsets, heads=heads, levels=levels, points=points)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        xavier(self.value_proj, self.output_proj)

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
        per_level = torch.tensor([(1 / w, 1 / h) for h, w in sizes], dtype=query.dtype, device=query.device)
        scale = per_level[:, None].expand(*places, 2).flatten()  # one long axis: short inner axes are slow
        around = references.repeat(1, scale.shape[0] // 2)
        locations = torch.addcmul(around, offsets, scale).unflatten(-1, (*places, 2))
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
    batch, queries, heads = locations.shape[:3]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (l, b m, n, p, 2)
    levels = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=-1)
    samples = [
        F.grid_sample(
            level.unflatten(-1, size), grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        for level, size, grid in zip(levels, sizes, grids, strict=True)
    ]  # each (b m, d, n, p)
    mixing = weights.permute(0, 2, 1, 3, 4).reshape(batch * heads, 1, queries, -1)
    mixed = (torch.cat(samples, -1) * mixing).sum(-1)
    per_head: Tensor = mixed.unflatten(0, (batch, heads))
    return per_head.permute(0, 3, 1, 2).flatten(2)


def sample_by_bag(
    value: Float[Tensor, "b s m d"],
    locations: Float[Tensor, "b n m l p 2"],
    weights: Float[Tensor, "b n m l p"],
    sizes: Sequence[tuple[int, int]],
) -> Float[Tensor, "b n md"]:
    """What `sample_by_grid` does, as sums of rows of one table.

    Every level stands in the table with a border of zeros, and locations are held inside the border, so that
    no corner needs a test of its own. Heads, levels and points are one axis (j) for the arithmetic, because
    short inner axes are slow.
    """
    table, starts = _bordered(value, sizes)
    batch, queries, heads, levels, points, _ = locations.shape
    per_level = torch.tensor([(h, w, start) for (h, w), start in zip(sizes, starts, strict=True)])
    height, width, start = per_level.repeat_interleave(points, 0).repeat(heads, 1).T.float()
    head = torch.arange(heads, dtype=torch.int32).repeat_interleave(levels * points)
    places = _Places(height, width, start, head, heads=heads, points=levels * points)
    sampled = value.new_zeros(batch, queries, heads, value.shape[-1])
    for picture in range(batch):
        for first in range(0, queries, QUERIES_PER_SLICE):
            part = slice(first, first + QUERIES_PER_SLICE)
            _sample_slice(
                sampled[picture, part].flatten(0, 1),
                table[picture].flatten(0, 1),
                locations[picture, part].flatten(1, 3),
                weights[picture, part].flatten(1),
                places,
            )
    return sampled.flatten(2)


@dataclass(frozen=True)
class _Places:
    """Constants of the places of a query: their level's size and first row in the table, and their head."""

    height: Float[Tensor, " j"]
    width: Float[Tensor, " j"]
    start: Float[Tensor, " j"]
    head: Int[Tensor, " j"]
    heads: int
    points: int


def _sample_slice(
    sampled: Float[Tensor, "nm d"],
    table: Float[Tensor, "rows d"],
    locations: Float[Tensor, "n j 2"],
    weights: Float[Tensor, "n j"],
    places: _Places,
) -> None:
    """Add the samples of some queries of one picture to `sampled`."""
    left, right_part = _corner(locations[..., 0], places.width)
    top, low_part = _corner(locations[..., 1], places.height)
    pitch = places.width + 2
    cells = top.mul_(pitch).add_(left).add_(places.start + pitch + 1).int()
    rows = cells.mul_(places.heads).add_(places.head)
    below = weights * low_part
    above = weights - below
    for down, part in ((0, above), (1, below)):
        right = part * right_part
        for across, share in ((0, part.sub_(right)), (1, right)):
            corner = rows + ((down * pitch + across) * places.heads).int()
            bags = corner.view(-1, places.points)
            sampled += F.embedding_bag(
                bags, table, mode="sum", per_sample_weights=share.view(-1, places.points)
            )


def _bordered(
    value: Float[Tensor, "b s m d"], sizes: Sequence[tuple[int, int]]
) -> tuple[Float[Tensor, "b t m d"], list[int]]:
    """The levels, each with one row and column of zeros on every side, and where each begins."""
    areas = [(h + 2) * (w + 2) for h, w in sizes]
    table = value.new_zeros(value.shape[0], sum(areas), *value.shape[2:])
    parts = value.split([h * w for h, w in sizes], dim=1)
    for area, part, (h, w) in zip(table.split(areas, dim=1), parts, sizes, strict=True):
        area.unflatten(1, (h + 2, w + 2))[:, 1:-1, 1:-1] = part.unflatten(1, (h, w))
    return table, [0, *accumulate(areas[:-1])]


def _corner(
    place: Float[Tensor, "n j"], size: Float[Tensor, " j"]
) -> tuple[Float[Tensor, "n j"], Float[Tensor, "n j"]]:
    """The cell below a location (0..1) of an axis, from -1 to size - 1, and the share of the next cell."""
    cells = torch.mul(place, size).sub_(0.5).clamp_(min=-1.0)
    cells = torch.minimum(cells, size, out=cells)
    below = cells.floor()
    below = torch.minimum(below, size - 1, out=below)
    return below, cells.sub_(below)
