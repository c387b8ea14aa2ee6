"""Learned positions of a vision transformer, brought to the grid of another picture size."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

OFFSET = 0.1
"""Added to the wanted size before it is divided by the trained one, as DINO's code does against rounding."""


def resize_positions(
    positions: Float[Tensor, "n c"], trained: tuple[int, int], grid: tuple[int, int]
) -> Float[Tensor, "m c"]:
    """Positions for `grid`, the class token's first and unchanged, the others row by row.

    The scale of the bicubic resize is (size + 0.1) / trained size, and source coordinates are computed with
    that scale, not with the ratio of the sizes. A square grid of as many positions as were trained keeps
    them.

    timm's and open_clip's own resizing take the ratio of the sizes and an anti-aliased kernel, which is not
    the same; for DINO's features, and for everything measured with Trident or ProxyCLIP, this rule is
    the published one.

    Source: facebookresearch/dino, `vision_transformer.py` (`interpolate_pos_encoding`); Trident applies it to
    CLIP too.

    Args:
        positions: of the class token and of the trained grid.
        trained: (rows, columns) of the trained grid.
        grid: (rows, columns) that are wanted.
    """
    rows, columns = grid
    if rows * columns == trained[0] * trained[1] and rows == columns:
        return positions
    old = positions[1:].T.reshape(1, -1, *trained)
    scale = ((rows + OFFSET) / trained[0], (columns + OFFSET) / trained[1])
    new = F.interpolate(old, scale_factor=scale, mode="bicubic", align_corners=False)
    assert new.shape[-2:] == grid
    out: Tensor = positions.new_empty(rows * columns + 1, positions.shape[1])
    out[0] = positions[0]
    out[1:] = new[0].flatten(1).T
    return out
