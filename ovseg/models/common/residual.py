"""The steps of a residual block, done slice by slice so that what lies between them stays in the cache.

A norm, a product and a sum, each over all rows, write large arrays that the next one fetches from memory
again. Here some hundred rows go through all of a step before the next rows are touched. Without gradients
only; on a GPU all rows are one slice.

Letters: *n any leading axes, whose places are the rows; m rows of a slice; i, h, o channels of what goes in,
of the hidden layer and of what comes out.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ovseg.models.common.linear import Activation, prepared, row_slices

Norm = Callable[[Float[Tensor, "m i"]], Float[Tensor, "m i"]]
"""Of rows, each by itself; what it gives is put into the number format of the weights."""


def normed_linear(
    x: Float[Tensor, "*n i"], norm: Norm, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None
) -> Float[Tensor, "*n o"]:
    """``norm(x) @ weight.T + bias``, in the number format of the weight."""
    rows = x.reshape(-1, x.shape[-1])
    layer = prepared(weight, bias, "none", len(rows), weight)
    out = torch.empty(len(rows), len(weight), dtype=weight.dtype, device=weight.device)
    for part in row_slices(rows, weight):
        out[part] = layer(norm(rows[part]).to(weight.dtype))
    return out.view(*x.shape[:-1], len(weight))


def add_linear(
    x: Float[Tensor, "*n o"],
    y: Float[Tensor, "*n i"],
    weight: Float[Tensor, "o i"],
    bias: Float[Tensor, " o"] | None,
) -> None:
    """``x += y @ weight.T + bias`` in place.

    The product is in the number format of `y` and the weight, which is one, the sum in that of `x`.

    Raises:
        RuntimeError: the rows of `x` are no view of it.
    """
    into, rows = x.view(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    layer = prepared(weight, bias, "none", len(rows), weight)
    for part in row_slices(rows, weight):
        into[part] += layer(rows[part]).to(x.dtype)


def add_mlp(
    x: Float[Tensor, "*n o"],
    y: Float[Tensor, "*n i"],
    norm: Norm,
    first: tuple[Float[Tensor, "h i"], Float[Tensor, " h"] | None],
    second: tuple[Float[Tensor, "o h"], Float[Tensor, " o"] | None],
    activation: Activation,
    scale: Float[Tensor, " o"] | None = None,
) -> None:
    """``x += scale * mlp(norm(y))``.

    Args:
        x: changed in place; its rows must be a view of it.
        y: may be `x`.
        norm: see `Norm`.
        first: as for `mlp`.
        second: as for `mlp`.
        activation: as for `mlp`.
        scale: by channel; None is 1.

    Raises:
        RuntimeError: the rows of `x` are no view of it.
    """
    into, rows = x.view(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    weight = first[0]
    up = prepared(*first, activation, len(rows), weight)
    down = prepared(*second, "none", len(rows), weight)
    for part in row_slices(rows, weight):
        added = down(up(norm(rows[part]).to(weight.dtype))).to(x.dtype)
        if scale is None:
            into[part] += added
        else:
            into[part].addcmul_(added, scale.to(x.dtype))
