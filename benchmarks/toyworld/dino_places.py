"""What a patch of one view is in another view of the same picture, and what is learned from it.

Hidden patches are told by a view that was changed in the same way. A patch that is seen at another scale, in
other colours and in another phase of its pattern, and still has to be the same, learns what it belongs to.
Source: the idea is that of dense contrastive learning (arXiv 2011.09157), here with DINO's distributions.

Letters: b pictures, n patches of a view, g their grid's side, k prototypes. A frame is (left, top, side,
mirrored) of a view in its picture, in pixels, with 0 or 1 at the end.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def places(of: Tensor, within: Tensor, grid: int) -> Tensor:
    """Where patches of views lie in other views, (b, n, 2): x and y, -1 and 1 are the borders.

    Args:
        of: frames (b, 4) of the views whose patches they are.
        within: frames (b, 4) of the other views.
        grid: patches of a side.
    """
    centres = (torch.arange(grid, device=of.device) + 0.5) / grid
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    inside = torch.stack([x, y], -1).flatten(0, 1).expand(len(of), -1, -1)
    pixels = of[:, None, :2] + of[:, None, 2:3] * _mirrored(inside, of[:, 3])
    return 2 * _mirrored((pixels - within[:, None, :2]) / within[:, None, 2:3], within[:, 3]) - 1


def at_places(wanted: Tensor, found: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of the patches that lie in the other view: its sum, and how many they are.

    Args:
        wanted: (b, n', k) distributions of the other view's patches.
        found: (b, n, k) logits of the patches.
        where: (b, n, 2) as from `places`.
    """
    grid = round(wanted.shape[1] ** 0.5)
    maps = wanted.transpose(1, 2).unflatten(2, (grid, grid))
    there = F.grid_sample(maps, where[:, None], padding_mode="border", align_corners=False)
    losses = -(there[:, :, 0].transpose(1, 2) * found.log_softmax(-1)).sum(-1)
    inside = (where.abs() < 1).all(-1)
    return losses[inside].sum(), inside.sum()


def _mirrored(x_and_y: Tensor, flags: Tensor) -> Tensor:
    x, y = x_and_y.unbind(-1)
    return torch.stack([torch.where(flags[:, None] > 0, 1 - x, x), y], -1)
