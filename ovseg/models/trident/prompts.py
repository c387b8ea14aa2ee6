"""Regions to prompts of SAM: a point, a box and a faint mask for each.

Source: Trident, `seg_utils/seg_refine.py`, and SAM's `ResizeLongestSide`.

Letters: n regions, h w the map that they were found in.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovseg.interfaces import PromptableMaskGenerator
from ovseg.models.trident.regions import Regions
from ovseg.types import MaskPrompts


def region_prompts(
    regions: Regions,
    picture: tuple[int, int],
    generator: PromptableMaskGenerator,
    *,
    coarse_threshold: float,
    mask_prompt_scale: float,
) -> MaskPrompts:
    """One prompt per region, in the order of the regions; there must be one.

    The scale of coordinates is taken from the map's size, as in the official code, not from that of SAM's
    input; the two can differ by a pixel.

    Args:
        regions: on a map that covers the picture.
        picture: (height, width) in pixels.
        generator: that the prompts are for.
        coarse_threshold: probabilities up to here are 0 in the mask prompts.
        mask_prompt_scale: factor on the others.
    """
    height, width = regions.places.shape
    frame = input_size((height, width), generator.input_side)
    side = generator.mask_prompt_side
    scale = torch.tensor([frame[1] / width, frame[0] / height], device=regions.places.device)
    mask_of_class = {
        label: mask_prompt(
            likely,
            input_size(picture, side),
            side=side,
            threshold=coarse_threshold,
            scale=mask_prompt_scale,
        )
        for label, likely in regions.probabilities.items()
    }
    return MaskPrompts(
        points=regions.points * scale,
        boxes=regions.boxes * scale.repeat(2),
        masks=torch.stack([mask_of_class[label] for label in regions.labels.tolist()]),
    )


def mask_prompt(
    likely: Float[Tensor, "h w"], size: tuple[int, int], *, side: int, threshold: float, scale: float
) -> Float[Tensor, "side side"]:
    """The probabilities of a class, resized to `size`, as a mask prompt, zero-padded at the right and below.

    SAM reads mask prompts as logits, in which this says hardly anything: 0 to `scale`.
    """
    resized = F.interpolate(likely[None, None], size=size, mode="bilinear")[0, 0]
    faint = torch.where(resized > threshold, resized * scale, 0.0)
    return F.pad(faint, (0, side - size[1], 0, side - size[0]))


def input_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(height, width) of a picture whose long side becomes `long_side`, rounded half up."""
    scale = long_side / max(size)
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width
