"""Which of a picture's predicted instances find a true one, by COCO's rules and pycocotools' own code.

pycocotools decides every match (`COCOeval.evaluateImg`). What it is given in place of run lengths are the
overlaps themselves, the same numbers in a tenth of the time.

Source: pycocotools 2.0, `cocoeval.py` and `mask.iou`; Lin et al., Microsoft COCO (2014), section 5.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval, Params

from ovseg.evaluation.detections import Detections, checked_instances, common_pixels, detections
from ovseg.evaluation.instance_matches import OVERLAPS, Matches, packed
from ovseg.interfaces import Record
from ovseg.truth import TrueInstance, Truth
from ovseg.types import Instances, Prediction

PARAMS = Params(iouType="segm")
MAX_DETECTIONS: tuple[int, ...] = tuple(PARAMS.maxDets)


@dataclass(frozen=True)
class COCOMatching:
    """Measures one picture: its `Matches`, as a record. Of sizes are told apart all, small, medium, large.

    Attributes:
        class_count: length of the data set's vocabulary.
        things: labels that take part.
    """

    class_count: int
    things: frozenset[int]

    def __call__(self, prediction: Prediction, truth: Truth) -> Record:
        """Match the picture's instances.

        Raises:
            DataError: sizes, counts of classes or labels do not fit, or one has no instance view.
        """
        found, true = checked_instances(prediction, truth, self.class_count)
        return match(found, true, self.things).to_record()


def match(found: Instances, true: Sequence[TrueInstance], classes: Collection[int]) -> Matches:
    """Match the instances of one picture.

    Args:
        found: predicted instances; ties of their scores are kept in their order.
        true: in the order of the annotations; crowds may be found any number of times and count for nothing.
        classes: labels that take part; instances of others are left out.
    """
    judged = detections(found, classes, per_class=MAX_DETECTIONS[-1])
    true = [instance for instance in true if instance.label in classes]
    true_labels = np.array([instance.label for instance in true], np.int64)
    # Where a class has no true instance, this is all that evaluateImg would find.
    ignored = np.repeat(~_within(judged.areas)[:, None], OVERLAPS, axis=1)
    matched = np.zeros_like(ignored)
    for label in np.intersect1d(judged.labels, true_labels).tolist():
        rows, of_class = judged.of_class(label)
        wanted = [instance for instance in true if instance.label == label]
        matched[..., rows], ignored[..., rows] = _match_class(of_class, wanted)
    is_crowd = np.array([instance.is_crowd for instance in true], np.bool_)
    counts = _within(np.array([instance.area for instance in true])) & ~is_crowd
    present = np.unique(true_labels)
    per_class = counts.astype(np.int64) @ (true_labels[:, None] == present).astype(np.int64)
    return Matches(judged.labels, judged.scores, packed(matched), packed(ignored), present, per_class)


def _within(areas: Num[np.ndarray, " n"]) -> Bool[np.ndarray, "areas n"]:
    """Whether an area lies in each of the ranges, ends included."""
    return np.array([(areas >= low) & (areas <= high) for low, high in PARAMS.areaRng])


def _match_class(
    found: Detections, true: Sequence[TrueInstance]
) -> tuple[Bool[np.ndarray, "areas overlaps n"], Bool[np.ndarray, "areas overlaps n"]]:
    """What is matched and what is ignored of one class that was both predicted and there."""
    evaluation = COCOeval(iouType="segm")
    evaluation._dts[0, 0] = [
        {"id": number, "score": score, "area": area}
        for number, (score, area) in enumerate(
            zip(found.scores.tolist(), found.areas.tolist(), strict=True), start=1
        )
    ]
    evaluation._gts[0, 0] = [
        {"id": number, "area": instance.area, "iscrowd": instance.is_crowd, "ignore": instance.is_crowd}
        for number, instance in enumerate(true, start=1)
    ]
    evaluation.ious[0, 0] = overlaps(found, true)
    results = [evaluation.evaluateImg(0, 0, area, MAX_DETECTIONS[-1]) for area in PARAMS.areaRng]
    matched = np.stack([result["dtMatches"] > 0 for result in results])
    return matched, np.stack([result["dtIgnore"] for result in results])


def overlaps(found: Detections, true: Sequence[TrueInstance]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every mask with every true instance, as `pycocotools.mask.iou` gives it.

    The union with a crowd is the predicted mask alone.
    """
    run_lengths = [instance.mask for instance in true]
    common = common_pixels(found.masks, run_lengths)
    only_true = coco_mask.area(run_lengths).astype(np.int64) - common
    is_crowd = np.array([instance.is_crowd for instance in true])
    union = found.areas[:, None] + np.where(is_crowd, 0, only_true)
    return np.asarray(common / np.maximum(union, 1))
