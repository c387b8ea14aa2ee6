"""The steps of a residual block, done slice by slice so that what lies between them stays in the cache.

A norm, a product and a sum, each over all rows, write large arrays that the next one fetches from memory
again. Here some hundred rows go through all of a step before the next rows are touched. Without gradients
only; on a GPU all rows are one slice.

Letters: *n any leading axes, whose places are the rows; m rows of a slice; i, o channels of what goes in and
of what comes out.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ovseg.models.common.linear import PreparedLinear, row_slices

Norm = Callable[[Float[Tensor, "m i"]], Float[Tensor, "m i"]]
"""Of rows, each by itself; what it gives is put into the number format of the layer that follows."""


def normed_linear(x: Float[Tensor, "*n i"], norm: Norm, layer: PreparedLinear) -> Float[Tensor, "*n o"]:
    """``layer(norm(x))``, in the layer's number format."""
    rows = x.reshape(-1, x.shape[-1])
    parts = list(row_slices(rows, layer))
    if len(parts) == 1:
        out = layer(norm(rows).to(layer.dtype))
    else:
        out = torch.empty(len(rows), layer.outputs, dtype=layer.dtype, device=rows.device)
        for part in parts:
            out[part] = layer(norm(rows[part]).to(layer.dtype))
    return out.view(*x.shape[:-1], layer.outputs)


def add_linear(x: Float[Tensor, "*n o"], y: Float[Tensor, "*n i"], layer: PreparedLinear) -> None:
    """``x += layer(y)`` in place; `y` is in the layer's number format, the sum in that of `x`.

    Raises:
        RuntimeError: the rows of `x` are no view of it.
    """
    into, rows = x.view(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    for part in row_slices(rows, layer):
        into[part] += layer(rows[part]).to(x.dtype)


def add_mlp(
    x: Float[Tensor, "*n o"],
    y: Float[Tensor, "*n i"],
    norm: Norm,
    up: PreparedLinear,
    down: PreparedLinear,
    scale: Float[Tensor, " o"] | None = None,
) -> None:
    """``x += scale * down(up(norm(y)))``.

    Args:
        x: changed in place; its rows must be a view of it.
        y: may be `x`.
        norm: see `Norm`.
        up: the perceptron's first layer, with the activation.
        down: its second layer.
        scale: by channel; None is 1.

    Raises:
        RuntimeError: the rows of `x` are no view of it.
    """
    into, rows = x.view(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    for part in row_slices(rows, up):
        added = down(up(norm(rows[part]).to(up.dtype))).to(x.dtype)
        if scale is None:
            into[part] += added
        else:
            into[part].addcmul_(added, scale.to(x.dtype))
