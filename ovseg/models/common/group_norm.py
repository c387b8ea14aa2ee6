"""Group norm of features in channels-last memory order, exact and without copies."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

ROWS_PER_SLICE = 2048
"""Positions that are worked on together: a megabyte or two of features, which stay in the cache."""


def group_norm(
    norm: nn.GroupNorm, x: Float[Tensor, "b c h w"], *, relu: bool = False
) -> Float[Tensor, "b c h w"]:
    """Normalise, then clip at zero if asked. Without gradients on a CPU this overwrites `x`.

    PyTorch's kernel for channels-last features takes the variance as a difference of large sums, which was
    seen to lose two digits of float32 on groups of nearly constant features; its other kernel needs a copy in
    the ordinary order. Here the mean goes first, in place, and squares are summed by slices in float64.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu":
        y: Tensor = norm(x.contiguous())
        return y.relu_() if relu else y
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # (b, n, c): a view where x is channels-last
    groups = (norm.num_groups, norm.num_channels // norm.num_groups)
    mean = _shared(_sum(rows, square=False) / rows.shape[1], groups)
    rows.sub_(mean.to(rows.dtype)[:, None])
    variance = _shared(_sum(rows, square=True) / rows.shape[1], groups)
    scale = (norm.weight / (variance + norm.eps).sqrt()).to(rows.dtype)[:, None]
    for part in rows.split(ROWS_PER_SLICE, 1):
        part.mul_(scale).add_(norm.bias)
        if relu:
            part.relu_()
    # Unflattened before it is permuted: from the strides of the other way round, convolutions of a single
    # picture do not tell that it is channels-last, and copy.
    grid: Tensor = rows.unflatten(1, x.shape[-2:])
    return grid.permute(0, 3, 1, 2)


def _sum(rows: Float[Tensor, "b n c"], *, square: bool) -> Float[Tensor, "b c"]:
    """Per channel, of the values or their squares, in float64."""
    parts = ((part * part if square else part).sum(1).double() for part in rows.split(ROWS_PER_SLICE, 1))
    total = rows.new_zeros(rows.shape[0], rows.shape[2], dtype=torch.float64)
    for part in parts:
        total += part
    return total


def _shared(per_channel: Float[Tensor, "b c"], groups: tuple[int, int]) -> Float[Tensor, "b c"]:
    """Every channel's value replaced by the mean over its group."""
    means: Tensor = per_channel.unflatten(1, groups).mean(-1)
    return means.repeat_interleave(groups[1], 1)
