"""A promptable mask generator that draws boxes, for tests of what is done with its masks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg.types import Features, GlobalAttention, Image, MaskPrompts, MaskProposals

SIDE, GRID, MASK = 1024, 8, 64


class BoxDrawer(nn.Module):
    """The mask of a prompt is its box.

    Args:
        quality: of the masks in turn, repeated; empty for a generator that predicts none.
    """

    def __init__(self, quality: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.quality = tuple(quality)
        self.prompts: list[MaskPrompts] = []
        self.pictures: list[tuple[int, ...]] = []

    input_side, mask_prompt_side = 1024, 256

    def encode(self, image: Image) -> Features:
        """An attention of random numbers, the same for every picture."""
        self.pictures.append(image.shape[:2])
        height, width = (max(1, int(side * SIDE / max(image.shape[:2]) + 0.5)) for side in image.shape[:2])
        draw = torch.Generator().manual_seed(0)
        queries, keys, values = torch.randn(3, 1, 2, GRID * GRID, 4, generator=draw)
        attention = GlobalAttention(
            queries=queries,
            keys=keys,
            values=values,
            row_bias=None,
            column_bias=None,
            grid=(GRID, GRID),
            valid=tuple(max(1, side * GRID // SIDE) for side in (height, width)),
        )
        dense = torch.zeros(1, 1, GRID, GRID)
        return Features(pyramid={}, dense=dense, image_size=(height, width), last_attention=attention)

    def forward(self, features: Features, prompts: MaskPrompts | None = None) -> MaskProposals:
        """Logits of 4 inside and -4 outside."""
        self.prompts.append(prompts)
        place = (torch.arange(MASK) + 0.5) * (SIDE / MASK)
        left, top, right, bottom = prompts.boxes.T[..., None]
        columns, rows = (place >= left) & (place <= right), (place >= top) & (place <= bottom)
        logits = (rows[:, :, None] & columns[:, None, :]) * 8.0 - 4.0
        count = len(logits)
        scores = torch.tensor((self.quality * count)[:count])[None] if self.quality else None
        return MaskProposals(logits=logits[None], scores=scores)

    def enlarge(self, logits: Tensor, features: Features, size: tuple[int, int]) -> Tensor:
        """The part that shows the picture, bilinear."""
        height, width = (-(-side * MASK // SIDE) for side in features.image_size)
        return F.interpolate(logits[None, :, :height, :width], size=size, mode="bilinear")[0]
