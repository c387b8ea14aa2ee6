"""Pictures to network inputs."""

from typing import Literal

import cv2
import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ovseg.types import BackboneSpec, Image


def resize_short_side(
    image: Image, short_side: int, long_side: int, *, by: Literal["pillow", "opencv"] = "pillow"
) -> Image:
    """Resize so that the short side is `short_side`, or less where the long side would exceed `long_side`.

    Bilinear on 8-bit values, both sides rounded half up. Pillow's, which looks at every pixel when it makes a
    picture smaller, is Detectron2's `ResizeShortestEdge`; OpenCV's, which looks at four, is MMSegmentation's
    `Resize` with ``keep_ratio``.
    """
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    if max(height, width) * scale > long_side:
        scale = long_side / max(height, width)
    size = (max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5)))
    if size == (width, height):
        return image
    if by == "opencv":
        return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR))


def normalise_and_pad(
    images: UInt8[Tensor, "b h w 3"], spec: BackboneSpec, divisor: int
) -> Float[Tensor, "b 3 H W"]:
    """Normalise, then pad right and bottom with zeros (the mean colour) to a multiple of `divisor`."""
    mean, std = (torch.tensor(value, device=images.device) for value in (spec.pixel_mean, spec.pixel_std))
    x = ((images - mean) / std).permute(0, 3, 1, 2)
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % divisor, 0, -height % divisor))
