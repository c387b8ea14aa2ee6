"""What SAM sees of a picture: the file itself, not what CLIP sees.

Source: Trident, `trident.py`, `forward_feature`.
"""

import cv2
import numpy as np

from ovseg.types import Image


def sam_picture(image: Image, patch: int) -> Image:
    """The picture with each side rounded up to whole patches of CLIP, bilinear by OpenCV on 8-bit values."""
    height, width = (-(-side // patch) * patch for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    resized: Image = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def halved(image: Image) -> tuple[Image, Image]:
    """Left and right half; of an odd width the right one is wider."""
    middle = image.shape[1] // 2
    return image[:, :middle], image[:, middle:]
