"""ADE20K's label maps and instance maps to panoptic truth and instances (Mask2Former's rules).

Stuff is taken from the label map; then the instances are laid over it. A pixel whose label is a thing but
which belongs to no instance is void. Stuff that is covered completely stays in the list of segments, as in
the files that Mask2Former's script makes, and counts as missed.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int32
from pycocotools import mask as coco_mask

from ovseg.data.images import opened
from ovseg.data.labels import label_table, look_up
from ovseg.data.maps import ids
from ovseg.data.panoptic import runs_of
from ovseg.data.run_lengths import masks_of
from ovseg.errors import DataError
from ovseg.truth import IGNORED, PanopticTruth, TrueInstance, TrueSegment

LABEL_OF_RED = label_table(
    {red: id - 1 for red, id in enumerate(ids("ade20k_instance"), start=1)}, ignored=(0,)
)
"""Red channel of an instance map -> class index among the 150."""

_PER_LABEL = 256


def read_instance_map(path: Path) -> Int32[np.ndarray, "h w"]:
    """An instance map as one number per instance, ``256 (label + 1) + green``; 0 where there is none.

    The red channel says the class, the green one tells the instances of a picture apart, 0 being none.

    Raises:
        DataError: it cannot be read, has not three channels, or its red channel holds no class.
    """
    with opened(path) as picture:
        if picture.mode != "RGB":
            raise DataError(
                f"{path} is no instance map of ADE20K: it has the pixel kind '{picture.mode}', not RGB. "
                "Unpack annotations_instance.tar again."
            )
        red, green, _ = (np.asarray(channel) for channel in picture.split())
    labels = look_up(np.where(green > 0, red, 0).astype(np.uint8), LABEL_OF_RED, path)
    if np.any((labels == IGNORED) & (green > 0)):
        raise DataError(f"{path} has an instance without a class (red is 0, green is not). Unpack it again.")
    return np.where(green > 0, _PER_LABEL * (labels.astype(np.int32) + 1) + green, 0).astype(np.int32)


def panoptic_of(
    semantic: Int16[np.ndarray, "h w"], instances: Int32[np.ndarray, "h w"], things: Collection[int]
) -> PanopticTruth:
    """Lay instances over stuff.

    Args:
        semantic: class index per pixel.
        instances: from `read_instance_map`.
        things: class indices that are countable.
    """
    stuff = label_table({label + 1: label for label in range(150) if label not in things}, others=IGNORED)
    found = [int(label) for label in np.unique(semantic) if label != IGNORED and label not in things]
    background = np.where(stuff[semantic + 1] == IGNORED, 0, semantic + 1)
    segments = [TrueSegment(label + 1, label) for label in found]
    codes = (int(code) for code in np.unique(runs_of(instances).values) if code)
    segments += [TrueSegment(code, code // _PER_LABEL - 1) for code in codes]
    return PanopticTruth(np.where(instances > 0, instances, background).astype(np.int32), tuple(segments))


def instances_of(instances: Int32[np.ndarray, "h w"]) -> tuple[TrueInstance, ...]:
    """The masks of an instance map, from `read_instance_map`."""
    masks = masks_of(instances).items()
    return tuple(
        TrueInstance(mask, code // _PER_LABEL - 1, float(coco_mask.area(mask))) for code, mask in masks
    )
