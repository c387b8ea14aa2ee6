"""Changes of toyworld's pictures that trainings without names share: crops, flips, colours, blur.

Pictures are uint8 RGB (side, side, 3); crops are (left, top, side) in pixels, sides and corners need not be
whole numbers.
"""

import cv2
import numpy as np

Crop = tuple[float, float, float]


def random_crop(side: int, area: tuple[float, float], random: np.random.RandomState) -> Crop:
    """A square whose share of the picture's area is uniform in `area`, anywhere inside the picture."""
    length = side * float(np.sqrt(random.uniform(*area)))
    left, top = random.rand(2) * (side - length)
    return float(left), float(top), length


def cut(picture: np.ndarray, crop: Crop, size: int, *, flip: bool, nearest: bool = False) -> np.ndarray:
    """A crop as a picture of `size` pixels a side, mirrored if `flip`; large crops are blurred before.

    `nearest` takes values as they are, for maps of ids.
    """
    left, top, length = crop
    scale = length / size
    if scale > 1.5 and not nearest:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * scale)
    # Centres of pixels are at whole coordinates for OpenCV.
    matrix = np.array([[scale, 0, left + 0.5 * scale - 0.5], [0, scale, top + 0.5 * scale - 0.5]])
    if flip:
        matrix[0] = -scale, 0, left + length - 0.5 * scale - 0.5
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def jitter_colours(picture: np.ndarray, strength: float, random: np.random.RandomState) -> np.ndarray:
    """Brightness, contrast and saturation times 1 +- strength, each channel times 1 +- a quarter of it."""
    pixels = picture.astype(np.float32)
    brightness, contrast, saturation = 1 + strength * random.uniform(-1, 1, 3)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    pixels = grey[..., None] + (pixels - grey[..., None]) * saturation
    mean = grey.mean()
    pixels = (mean + (pixels - mean) * contrast) * brightness
    pixels *= 1 + 0.25 * strength * random.uniform(-1, 1, 3).astype(np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def soften(picture: np.ndarray, size: int) -> np.ndarray:
    """The picture as if it had been `size` pixels a side and was enlarged."""
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
