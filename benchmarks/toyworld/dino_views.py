"""What toyworld's DINO sees of a picture: crops of two sizes, changed at random, and masks of patches.

Source: DINO (arXiv 2104.14294), section 3.1 and appendix; blocks of masked patches as in iBOT
(arXiv 2111.07832), section 4.1. Crops are smaller shares of the picture than there, so that a patch shows
about as many pixels of the world as it does where the model is used.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from augment import cut, jitter_colours, random_crop


@dataclass(frozen=True)
class ViewSizes:
    """Sides in pixels, shares of the picture's area, and how many.

    Attributes:
        large, small: sides of the two kinds of crops.
        large_area, small_area: ranges of their shares of the picture.
        large_count, small_count: per picture.
    """

    large: int = 176
    small: int = 96
    large_area: tuple[float, float] = (0.2, 0.8)
    small_area: tuple[float, float] = (0.03, 0.2)
    large_count: int = 2
    small_count: int = 4


def draw_views(
    picture: np.ndarray, sizes: ViewSizes, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Large views (views, side, side, 3) and small ones, uint8, of an RGB picture."""
    large = [_view(picture, sizes.large, sizes.large_area, random) for _ in range(sizes.large_count)]
    small = [_view(picture, sizes.small, sizes.small_area, random) for _ in range(sizes.small_count)]
    return np.stack(large), np.stack(small)


def draw_mask(grid: int, random: np.random.RandomState) -> np.ndarray:
    """Patches to hide, bool (grid, grid): blocks of at least four, a tenth to a half of all together."""
    wanted = random.uniform(0.1, 0.5) * grid * grid
    mask = np.zeros((grid, grid), bool)
    while mask.sum() < wanted:
        height, width = random.randint(2, grid // 2 + 1, 2)
        top, left = random.randint(0, grid - height + 1), random.randint(0, grid - width + 1)
        mask[top : top + height, left : left + width] = True
    return mask


def _view(
    picture: np.ndarray, side: int, area: tuple[float, float], random: np.random.RandomState
) -> np.ndarray:
    crop = random_crop(picture.shape[0], area, random)
    view = cut(picture, crop, side, flip=bool(random.rand() < 0.5))
    if random.rand() < 0.8:
        view = jitter_colours(view, 0.4, random)
    if random.rand() < 0.1:
        view = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if random.rand() < 0.3:
        view = cv2.GaussianBlur(view, (0, 0), random.uniform(0.3, 1.5))
    return view
