"""Label files to arrays: index maps of 8 or 16 bits through a table, panoptic maps of three channels to ids.

Letters: h w pixels of the file, values what a pixel of the file may hold: 256 or 65536 of them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Int16, Int32, UInt8, UInt16

from ovseg.data.images import opened
from ovseg.errors import DataError, LabelError
from ovseg.truth import IGNORED

OUTSIDE = -2
"""Entry of a table for values that no label file of the data set may hold."""

Table = Int16[np.ndarray, " values"]
"""Value of a pixel in the file -> class index, `IGNORED` or `OUTSIDE`."""

_MOST_NAMED = 5


def label_table(
    labels: Mapping[int, int], *, ignored: Iterable[int] = (), others: int = OUTSIDE, bits: int = 8
) -> Table:
    """The table that `read_labels` reads a file through.

    Args:
        labels: value in the file -> class index.
        ignored: values that mean no class.
        others: what all other values become: `OUTSIDE` refuses them, `IGNORED` takes them for no class.
        bits: 8 for maps of one byte a pixel, 16 for maps of two (smaller files may be read through it too).
    """
    table = np.full(2**bits, others, np.int16)
    table[list(ignored)] = IGNORED
    table[list(labels)] = list(labels.values())
    return table


def same_labels(classes: int, *, ignored: Iterable[int] = (255,), bits: int = 8) -> Table:
    """The table of files whose values are class indices already."""
    return label_table({index: index for index in range(classes)}, ignored=ignored, bits=bits)


def read_labels(path: Path, table: Table) -> Int16[np.ndarray, "h w"]:
    """An index map as class indices, `IGNORED` where there is none.

    Raises:
        DataError: the file cannot be read, is no index map or holds a value that the table refuses.
    """
    values = read_index_map(path)
    return look_up(values, table, path)


def look_up(
    values: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], table: Table, path: Path
) -> Int16[np.ndarray, "h w"]:
    """Values of a file, whose path is for the message, as class indices.

    Raises:
        LabelError: a value is one that the table refuses.
    """
    # An 8-bit value is always inside a table; of a 16-bit one in a table of 256 nobody knows.
    if len(table) <= np.iinfo(values.dtype).max and values.size and int(values.max()) >= len(table):
        table = np.concatenate([table, np.full(65536 - len(table), OUTSIDE, np.int16)])
    labels: Int16[np.ndarray, "h w"] = np.take(table, values)
    if labels.size and int(labels.min()) == OUTSIDE:
        wrong = np.unique(values[labels == OUTSIDE])
        raise LabelError(
            f"{path} holds {_some(wrong)} in {np.count_nonzero(labels == OUTSIDE)} pixels, which is no label "
            f"of this data set (allowed: {_ranges(np.flatnonzero(table != OUTSIDE))}). It is another data "
            "set's, was saved with other ids, or was changed by a resize or a lossy format: get it again. If "
            "it is right, the list of classes lacks some: add them."
        )
    return labels


def read_index_map(path: Path) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """The values in a picture file of one channel; a palette's index, not its colour.

    Raises:
        DataError: the file cannot be read, or has several channels or no whole numbers.
    """
    with opened(path) as picture:
        if picture.mode in ("L", "P"):
            return np.asarray(picture)
        if picture.mode.startswith("I;16"):
            return np.asarray(picture).astype(np.uint16)
        if picture.mode == "I" and picture.format == "PNG":  # 16 bits, as Pillow before 11.3 reads them
            return np.asarray(picture).astype(np.uint16)
        raise DataError(
            f"{path} is no index map: its pixels are {_kind(picture)}, not one whole number of 8 or 16 bits. "
            "Name the folder of label files, not of pictures or of coloured previews."
        )


def read_panoptic_ids(path: Path) -> Int32[np.ndarray, "h w"]:
    """The segment ids of a panoptic PNG: ``R + 256 G + 256^2 B`` (COCO's format; Kirillov et al. 2019).

    Raises:
        DataError: the file cannot be read or has not three channels of 8 bits.
    """
    with opened(path) as picture:
        if picture.mode not in ("RGB", "RGBA"):
            raise DataError(
                f"{path} is no panoptic map: its pixels are {_kind(picture)}, not three channels of 8 bits. "
                "Name the folder of panoptic PNG files, whose ids are R + 256 G + 256^2 B."
            )
        # Four bytes a pixel is how Pillow keeps both kinds: read as one number, less its last byte.
        raw = np.frombuffer(picture.tobytes("raw", "RGBX" if picture.mode == "RGB" else "RGBA"), "<i4")
        return (raw & 0xFFFFFF).astype(np.int32, copy=False).reshape(picture.height, picture.width)


def _kind(picture: PIL.Image.Image) -> str:
    kinds = {
        "RGB": "RGB colours",
        "RGBA": "RGB colours with transparency",
        "L": "one grey value",
        "P": "indices into a palette",
        "1": "one bit",
        "F": "floating-point numbers",
    }
    return kinds.get(picture.mode, f"of the kind '{picture.mode}'")


def _some(values: np.ndarray) -> str:
    named = ", ".join(map(str, values[:_MOST_NAMED]))
    return f"{named} and {len(values) - _MOST_NAMED} other values" if len(values) > _MOST_NAMED else named


def _ranges(values: np.ndarray) -> str:
    """``0..132, 255`` for these numbers."""
    breaks = np.flatnonzero(np.diff(values) > 1) + 1
    runs = [run for run in np.split(values, breaks) if len(run)]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs]
    if len(texts) > 2 * _MOST_NAMED:
        texts = [*texts[: 2 * _MOST_NAMED], "..."]
    return ", ".join(texts)
