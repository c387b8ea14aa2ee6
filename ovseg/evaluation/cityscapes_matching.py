"""Which of a picture's predicted instances find a true one, by the rules of cityscapesScripts.

At each of ten overlaps, an instance of a class is compared with the true ones of that class:

* it is matched if it overlaps a true instance of at least `SMALLEST` pixels by more; of several, the most
  confident is, and the others are false;
* it is ignored if it overlaps a smaller one, or the class's crowds taken together, by more, or if more than
  that share of its pixels is void, crowd or small instance;
* it is false otherwise. One without pixels was never there.

Void are the pixels of classes that are not evaluated; but not those of an instance of such a class (a
caravan), since the published code looks for class ids in a map where an instance has an id of its own.

Source: cityscapesScripts 2, `evaluation/evalInstanceLevelSemanticLabeling.py`, without distances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from ovseg.errors import DataError
from ovseg.evaluation.detections import Detections, checked_instances, common_pixels, detections
from ovseg.evaluation.instance_matches import Matches, packed
from ovseg.interfaces import Record
from ovseg.truth import IGNORED, RunLengths, TrueInstance, Truth
from ovseg.types import Prediction

OVERLAPS = np.arange(0.5, 1.0, 0.05)
"""Not linspace: two of them differ in their last digit."""

SMALLEST = 100
"""Pixels that a true instance must have to count."""


@dataclass(frozen=True)
class CityscapesMatching:
    """Measures one picture: its `Matches`, as a record; sizes are not told apart.

    Attributes:
        class_count: length of the data set's vocabulary.
        things: labels that take part.
    """

    class_count: int
    things: frozenset[int]

    def __call__(self, prediction: Prediction, truth: Truth) -> Record:
        """Match the picture's instances.

        Raises:
            DataError: sizes, counts of classes or labels do not fit, one has no instance view, or the truth
                does not say what is void.
        """
        found, true = checked_instances(prediction, truth, self.class_count)
        judged = detections(found, self.things).with_pixels()
        void = void_pixels(truth)
        matched = np.zeros((1, len(OVERLAPS), len(judged.labels)), np.bool_)
        ignored = np.zeros_like(matched)
        counts = {}
        for label in sorted(
            self.things.intersection([*judged.labels.tolist(), *(one.label for one in true)])
        ):
            rows, of_class = judged.of_class(label)
            regions = regions_of([instance for instance in true if instance.label == label])
            matched[0, :, rows], ignored[0, :, rows] = _match_class(of_class, regions, void)
            counts[label] = sum(region.counts for region in regions)
        return Matches(
            labels=judged.labels,
            scores=judged.scores,
            matched=packed(matched),
            ignored=packed(ignored),
            true_labels=np.array(list(counts), np.int64),
            true_counts=np.array([list(counts.values())], np.int64),
        ).to_record()


@dataclass(frozen=True)
class Region:
    """A true instance, or all crowds of a class.

    Attributes:
        mask: its pixels.
        area: pixels.
        is_crowd: whether it is the crowds.
    """

    mask: RunLengths
    area: int
    is_crowd: bool

    @property
    def is_small(self) -> bool:
        """Whether it is too small to count."""
        return self.area < SMALLEST

    @property
    def counts(self) -> bool:
        """Whether it can be matched and missed."""
        return not (self.is_crowd or self.is_small)


def regions_of(true: Sequence[TrueInstance]) -> list[Region]:
    """What the instances of a class may overlap."""
    crowds = [instance.mask for instance in true if instance.is_crowd]
    masks = [(instance.mask, False) for instance in true if not instance.is_crowd]
    if crowds:
        masks.append((coco_mask.merge(crowds), True))
    return [Region(mask, int(coco_mask.area(mask)), is_crowd) for mask, is_crowd in masks]


def void_pixels(truth: Truth) -> Bool[np.ndarray, "h w"]:
    """Where there is no evaluated class.

    Raises:
        DataError: the truth has neither a semantic nor a panoptic view.
    """
    if truth.semantic is not None:
        void = np.asarray(truth.semantic == IGNORED)
    elif truth.panoptic is not None:
        void = np.asarray(truth.panoptic.ids == 0)
    else:
        raise DataError(
            "The truth does not say which pixels are void: it has instances alone. This metric is for "
            "Cityscapes; for other data sets choose evaluator=average_precision."
        )
    for instance in truth.instances or ():
        if instance.label == IGNORED:
            void &= coco_mask.decode(instance.mask) == 0
    return void


def _match_class(
    found: Detections, regions: Sequence[Region], void: Bool[np.ndarray, "h w"]
) -> tuple[Bool[np.ndarray, "overlaps n"], Bool[np.ndarray, "overlaps n"]]:
    """What is matched and what is ignored of the instances of a class."""
    common = common_pixels(found.masks, [region.mask for region in regions])
    areas = np.array([region.area for region in regions], np.int64)
    overlaps = common / (found.areas[:, None] + areas - common)
    overlap = overlaps > OVERLAPS[:, None, None]
    hits = overlap & np.array([region.counts for region in regions], np.bool_)
    best = hits & (hits.cumsum(axis=1) == 1)
    # The published code counts a small crowd's pixels twice.
    kinds = np.array([region.is_crowd + region.is_small for region in regions], np.int64)
    no_one = common @ kinds + [np.count_nonzero(mask & void) for mask in found.masks]
    elsewhere = (no_one / found.areas) > OVERLAPS[:, None]
    return best.any(axis=2), ~hits.any(axis=2) & (overlap.any(axis=2) | elsewhere)
