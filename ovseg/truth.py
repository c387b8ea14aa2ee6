"""What people say is in a picture: the values that evaluators compare predictions with. Needs no torch.

Letters: h w pixels of the picture as it is evaluated.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Int16, Int32

IGNORED = -1
"""Value of a semantic map where the truth says nothing; such pixels count for no metric."""


class RunLengths(TypedDict):
    """A mask as COCO's compressed run lengths, as pycocotools reads and writes it."""

    size: list[int]
    counts: bytes


@dataclass(frozen=True)
class TrueSegment:
    """One region of a panoptic truth.

    Attributes:
        id: value of its pixels in `PanopticTruth.ids`; not 0.
        label: class index in the data set's vocabulary.
        is_crowd: a region of several things that were not told apart.
    """

    id: int
    label: int
    is_crowd: bool = False


@dataclass(frozen=True)
class PanopticTruth:
    """A partition of the picture; 0 in `ids` is void."""

    ids: Int32[np.ndarray, "h w"]
    segments: tuple[TrueSegment, ...]


@dataclass(frozen=True)
class TrueInstance:
    """One thing, or a crowd of them.

    Attributes:
        mask: its pixels.
        label: class index in the data set's vocabulary.
        area: pixels, as the annotation states it (it may differ from the mask's by a little).
        is_crowd: a region of several things that were not told apart.
    """

    mask: RunLengths
    label: int
    area: float
    is_crowd: bool = False


@dataclass(frozen=True)
class Truth:
    """The truth of one picture, in the views that the data set has.

    Attributes:
        image_size: (height, width) in pixels; predictions are compared at this size.
        semantic: class index per pixel, `IGNORED` where there is none.
        panoptic, instances: None where the data set has no such truth.
    """

    image_size: tuple[int, int]
    semantic: Int16[np.ndarray, "h w"] | None = None
    panoptic: PanopticTruth | None = None
    instances: tuple[TrueInstance, ...] | None = None
