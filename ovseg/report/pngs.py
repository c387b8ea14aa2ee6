"""Label maps as PNG files."""

import io

import numpy as np
import PIL.Image
from jaxtyping import Int
from torch import Tensor

from ovseg.errors import OutputError
from ovseg.types import NOTHING, Image

IGNORE_8, IGNORE_16 = 255, 65535
"""Pixel values of a semantic PNG where no class was given, by its depth in bits."""


def ignore_value(classes: int) -> int:
    """Pixel value of "no class" in a semantic PNG: 255 (8 bits) up to 255 classes, else 65535 (16 bits)."""
    return IGNORE_8 if classes <= IGNORE_8 else IGNORE_16


def semantic_png(labels: Int[Tensor, "h w"], classes: int) -> bytes:
    """A grey PNG whose pixels are class indices, 8 or 16 bits deep; see `ignore_value`.

    Raises:
        OutputError: there are more than 65535 classes.
    """
    if classes > IGNORE_16:
        raise OutputError(
            f"A semantic PNG holds at most {IGNORE_16} classes, the vocabulary has {classes}. "
            "Shorten it, or leave out the semantic task: tasks=[panoptic,instance]."
        )
    ignore = ignore_value(classes)
    values = labels.numpy().astype(np.int32)
    kind = np.uint8 if ignore == IGNORE_8 else np.uint16
    return png(np.where(values == NOTHING, ignore, values).astype(kind))


def panoptic_png(ids: Int[Tensor, "h w"]) -> bytes:
    """COCO's panoptic PNG: RGB with segment id = R + 256 G + 65536 B, 0 where nothing is.

    Raises:
        ValueError: an id is not in 0 .. 2**24 - 1.
    """
    values = ids.numpy().astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() < 2**24:
        raise ValueError(f"Segment ids must be in 0..{2**24 - 1}, got {values.min()}..{values.max()}.")
    return png(np.stack([values & 255, values >> 8 & 255, values >> 16], axis=-1).astype(np.uint8))


def overlay_png(overlay: Image) -> bytes:
    """An RGB picture; packed lightly, because packing tightly takes longer than drawing."""
    return png(overlay, compress_level=3)


def png(array: np.ndarray, compress_level: int = 6) -> bytes:
    """Encode (h, w) uint8 or uint16, or (h, w, 3) uint8; `compress_level` from 0 (fast) to 9 (small)."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()
