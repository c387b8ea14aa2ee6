"""A prediction laid over its picture, for people to look at."""

import numpy as np
import PIL.Image
from jaxtyping import Bool, Int, UInt8

from ovseg.report.fonts import text_size
from ovseg.report.labels import draw_labels
from ovseg.report.legend import add_legend
from ovseg.report.regions import RegionMap, View, regions_of
from ovseg.types import Image, Prediction
from ovseg.vocabulary import Vocabulary

MAX_SIDE = 2048
"""Longer side in pixels to which a larger picture is scaled down: an overlay is for the eye."""

OPACITY = 0.55
_OUTLINE_OPACITY = 0.9


def draw_overlay(
    image: Image, prediction: Prediction, *, view: View | None = None, max_side: int = MAX_SIDE
) -> Image:
    """Tint each region in its colour, outline and name it, and add a legend beside or below the picture.

    The legend lists the classes that are there, the largest first, with their share of the picture and, for
    things, how many there are. Larger than the picture by the legend; the picture is in its top left corner.

    Args:
        image: the picture.
        prediction: of that picture.
        view: which of the prediction's views; see `ovseg.report.regions.regions_of`.
        max_side: longer side in pixels to which a larger picture is scaled down.

    Raises:
        ValueError: the prediction is of another size than the picture, or has no such view.
    """
    regions = _regions(image, prediction, view)
    canvas, size = _draw(image, regions, prediction.vocabulary, max_side)
    return np.array(add_legend(canvas, regions, prediction.vocabulary, size))


def draw_regions(image: Image, prediction: Prediction, *, view: View | None = None, max_side: int) -> Image:
    """As `draw_overlay`, without the legend: as large as the picture, or scaled down to `max_side`.

    Raises:
        ValueError: as `draw_overlay`.
    """
    regions = _regions(image, prediction, view)
    canvas, _ = _draw(image, regions, prediction.vocabulary, max_side)
    return np.array(canvas)


def _regions(image: Image, prediction: Prediction, view: View | None) -> RegionMap:
    if image.shape[:2] != prediction.image_size:
        raise ValueError(f"The picture has size {image.shape[:2]}, the prediction {prediction.image_size}.")
    return regions_of(prediction, view)


def _draw(
    image: Image, regions: RegionMap, vocabulary: Vocabulary, max_side: int
) -> tuple[PIL.Image.Image, int]:
    """The tinted picture with names, and the size of their font."""
    picture, ids = _fit(image, regions.ids, max_side)
    colors = np.array([region.color for region in regions.regions], np.uint8).reshape(-1, 3)
    size = text_size(*ids.shape)
    tinted = _blend(picture, colors, ids, ids >= 0, OPACITY)
    outlined = _blend(tinted, _lighter(colors), ids, _borders(ids, max(1, size // 8)), _OUTLINE_OPACITY)
    names = [vocabulary.classes[region.label].name for region in regions.regions]
    canvas = PIL.Image.fromarray(outlined)
    draw_labels(canvas, ids, names, colors, size)
    return canvas, size


def _fit(image: Image, ids: Int[np.ndarray, "h w"], max_side: int) -> tuple[Image, Int[np.ndarray, "h2 w2"]]:
    height, width = ids.shape
    scale = max_side / max(height, width)
    if scale >= 1:
        return image, ids
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    picture = PIL.Image.fromarray(image).resize(small[::-1], PIL.Image.Resampling.LANCZOS)
    rows = (np.arange(small[0]) + 0.5) * height / small[0]
    columns = (np.arange(small[1]) + 0.5) * width / small[1]
    return np.array(picture), ids[rows.astype(int)[:, None], columns.astype(int)]


def _blend(
    image: Image,
    colors: UInt8[np.ndarray, "n 3"],
    ids: Int[np.ndarray, "h w"],
    where: Bool[np.ndarray, "h w"],
    opacity: float,
) -> Image:
    """Mix the colours of the regions into the picture at some pixels."""
    blended = image.copy()
    mixed = image[where] * (1 - opacity) + colors[ids[where]] * opacity
    blended[where] = mixed.round().astype(np.uint8)
    return blended


def _lighter(colors: UInt8[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    return np.asarray(colors + (255 - colors) // 2, np.uint8)


def _borders(ids: Int[np.ndarray, "h w"], thickness: int) -> Bool[np.ndarray, "h w"]:
    """Pixels of a region that end at another one, on its left or upper side, or at none, on every side."""
    border = np.zeros(ids.shape, bool)
    for step in range(1, thickness + 1):
        for one, other in ((np.s_[:, :-step], np.s_[:, step:]), (np.s_[:-step], np.s_[step:])):
            differs = ids[one] != ids[other]
            border[one] |= differs
            border[other] |= differs & (ids[one] < 0)
    return border & (ids >= 0)
