"""Large-scale jitter as a torchvision v2 transform of a picture and its map of segments.

`v2.RandomHorizontalFlip`, a resize and a crop give the same, one after the other; but a picture enlarged
twice has four times the crop's pixels, most of which are thrown away. Here only the crop is computed.

Pictures are resized by Pillow as in the official recipe, bilinearly with antialiasing. It resamples a part as
it would within the whole, but for a rounding of the part's edges: on photographs one value in a thousand
differs by one grey level, two in ten million by two. Segments take the nearest pixel.
"""

import numpy as np
import PIL.Image
import torch
from jaxtyping import Int16, UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from ovseg.data.training.views import View, draw_view
from ovseg.errors import ConfigError

GREY = 128
"""Value of padding in all three channels of a picture."""

VOID = -1
"""Value of padding in a map of segments, and of pixels that are in no segment."""


class LargeScaleJitter(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Flip by chance, resize by chance, crop to one size.

    What is drawn comes from torch's global generator, as for every transform of torchvision.

    Args:
        crop: (height, width) in pixels of what comes out.
        scales: the smallest and the largest scale; at 1 the picture just fits into the crop.
        flip: how probable a flip is.

    Raises:
        ConfigError: a size is not positive, scales are not ascending and positive, or `flip` is not in 0..1.
    """

    def __init__(
        self,
        *,
        crop: tuple[int, int] = (1024, 1024),
        scales: tuple[float, float] = (0.1, 2.0),
        flip: float = 0.5,
    ) -> None:
        super().__init__()
        if min(crop) < 1:
            raise ConfigError(
                f"crop={list(crop)}: give a height and a width of at least 1, as crop=[1024,1024]."
            )
        if not 0 < scales[0] <= scales[1]:
            raise ConfigError(
                f"scales={list(scales)}: give the smallest, above 0, and the largest, as scales=[0.1,2.0]."
            )
        if not 0 <= flip <= 1:
            raise ConfigError(f"flip={flip} is no probability. Give 0 (never) to 1 (always), as flip=0.5.")
        self.crop = crop
        self.scales = scales
        self.flip = flip

    def forward(
        self, image: UInt8[tv_tensors.Image, "3 h w"], segments: Int16[tv_tensors.Mask, "h w"]
    ) -> tuple[UInt8[tv_tensors.Image, "3 H W"], Int16[tv_tensors.Mask, "H W"]]:
        """A view of both by chance; padding is `GREY` and `VOID`."""
        source = (image.shape[1], image.shape[2])
        view = draw_view(source, crop=self.crop, scales=self.scales, flip=self.flip, draw=_draw)
        pixels = crop_of_image(image.permute(1, 2, 0).numpy(), view)
        labels = crop_of_segments(segments.numpy(), view)
        return tv_tensors.Image(_tensor(pixels).permute(2, 0, 1)), tv_tensors.Mask(_tensor(labels))


def crop_of_image(image: UInt8[np.ndarray, "h w 3"], view: View) -> UInt8[np.ndarray, "H W 3"]:
    """The view of a picture, `GREY` where it has none."""
    rows, columns = view.shown
    scale = [of / to for of, to in zip(view.source, view.size, strict=True)]
    top, left = (offset * factor for offset, factor in zip(view.offset, scale, strict=True))
    # A box must not reach over the edge by a rounding.
    bottom = min((view.offset[0] + rows) * scale[0], float(view.source[0]))
    right = min((view.offset[1] + columns) * scale[1], float(view.source[1]))
    picture = PIL.Image.fromarray(image[:, ::-1] if view.flip else image)
    shown = picture.resize((columns, rows), PIL.Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    crop = np.full((*view.crop, 3), GREY, np.uint8)
    crop[:rows, :columns] = np.asarray(shown)
    return crop


def crop_of_segments(segments: Int16[np.ndarray, "h w"], view: View) -> Int16[np.ndarray, "H W"]:
    """The view of a map of segments, `VOID` where it has none."""
    rows, columns = view.shown
    crop = np.full(view.crop, VOID, np.int16)
    crop[:rows, :columns] = segments.take(view.nearest(0), axis=0).take(view.nearest(1), axis=1)
    return crop


def _draw() -> float:
    return float(torch.rand((), dtype=torch.float64))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)
