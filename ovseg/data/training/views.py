"""Which part of a picture is trained on, and how large: a flip, large-scale jitter, a crop of fixed size.

The rules are those of the COCO recipe of Mask2Former and FC-CLIP (`RandomFlip`, `ResizeScale` and
`FixedSizeCrop` of detectron2), in that order. Pixels are (row, column) from the top left corner.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class View:
    """What one training crop shows.

    Attributes:
        source: (height, width) of the picture.
        flip: whether it is mirrored, left for right, before anything else.
        size: (height, width) that all of it is resized to.
        offset: (row, column) of the crop's first pixel in the resized picture.
        crop: (height, width) of the crop; what lies beyond the resized picture, right and below, is padding.
    """

    source: tuple[int, int]
    flip: bool
    size: tuple[int, int]
    offset: tuple[int, int]
    crop: tuple[int, int]

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) of the part of the crop that shows the picture, from its top left corner."""
        rows, columns = (min(self.size[axis] - self.offset[axis], self.crop[axis]) for axis in (0, 1))
        return rows, columns

    def nearest(self, axis: int) -> Int64[np.ndarray, " shown"]:
        """The row (axis 0) or column (axis 1) of the picture whose value each one of the crop takes.

        It is the pixel under the middle of the resized one, as in Pillow and torch's ``nearest-exact``; whole
        numbers, so a middle that lies between two pixels takes the second on every machine.
        """
        places = np.arange(self.offset[axis], self.offset[axis] + self.shown[axis], dtype=np.int64)
        found: np.ndarray = (2 * places + 1) * self.source[axis] // (2 * self.size[axis])
        return self.source[1] - 1 - found if axis == 1 and self.flip else found


def draw_view(
    source: tuple[int, int],
    *,
    crop: tuple[int, int],
    scales: tuple[float, float],
    flip: float,
    draw: Callable[[], float],
) -> View:
    """A view of a picture by chance.

    The scale is drawn uniformly; at scale 1 the picture just fits into a crop. Where it is larger than the
    crop, ONE number places the crop in both directions, as in detectron2: it lies on the diagonal.

    Args:
        source: (height, width) of the picture.
        crop: (height, width) of the crop.
        scales: the smallest and the largest scale.
        flip: how probable a flip is, 0..1.
        draw: the next number by chance in 0..1; asked for three, in the order flip, scale, place.
    """
    flipped = draw() < flip
    scale = scales[0] + (scales[1] - scales[0]) * draw()
    factor = min(crop[axis] * scale / source[axis] for axis in (0, 1))
    height, width = (max(round(source[axis] * factor), 1) for axis in (0, 1))
    place = draw()
    row, column = (round(max(of - part, 0) * place) for of, part in zip((height, width), crop, strict=True))
    return View(source, flipped, (height, width), (row, column), crop)
