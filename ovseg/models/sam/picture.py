"""A picture to SAM's square network input, and masks back to the picture.

Source: SAM, `segment_anything/utils/transforms.py`, `predictor.py` and `modeling/sam.py`.

Letters: n masks, h w their grid, H W the picture.
"""

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovseg.types import Image

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Per RGB channel, in units of 0..255."""

MASKS_AT_ONCE = 8
"""Masks enlarged together: 32 MiB at the network input's size."""


def input_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Where a picture of (height, width) lies in the network input: its long side fills `side`.

    Sides are rounded half up; a side that would vanish (aspect ratios beyond 2000:1) keeps one pixel.
    """
    scale = side / max(size)
    height, width = (max(1, int(length * scale + 0.5)) for length in size)
    return height, width


def network_input(image: Image, side: int, device: torch.device) -> Float[Tensor, "1 3 side side"]:
    """Resize (bilinear, antialiased, on 8-bit values), normalise, pad with zeros at the right and below."""
    height, width = input_size(image.shape[:2], side)
    resized = PIL.Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), PIL.Image.Resampling.BILINEAR
    )
    pixels = torch.from_numpy(np.array(resized)).to(device)
    mean, std = (torch.tensor(value, device=device) for value in (PIXEL_MEAN, PIXEL_STD))
    x = ((pixels - mean) / std).permute(2, 0, 1)[None]
    return F.pad(x, (0, side - width, 0, side - height))


def enlarge_masks(
    logits: Float[Tensor, "n h w"], side: int, shown: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "n H W"]:
    """Mask logits at the network input's size, cut to what shows the picture, at the picture's size.

    Args:
        logits: on the mask decoder's grid.
        side: of the network input, in pixels.
        shown: (height, width) of its part that shows the picture.
        size: (height, width) of the result.
    """
    out = logits.new_empty(len(logits), *size)
    for start in range(0, len(logits), MASKS_AT_ONCE):
        part = slice(start, start + MASKS_AT_ONCE)
        large = F.interpolate(logits[None, part], size=(side, side), mode="bilinear")
        out[part] = F.interpolate(large[..., : shown[0], : shown[1]], size=size, mode="bilinear")[0]
    return out
