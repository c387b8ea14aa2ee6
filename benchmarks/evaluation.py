"""Milliseconds that the evaluators take for a picture, on one core: COCO's 133 classes, 512 x 683 by default.

A picture has 25 true segments of about real sizes. The prediction is the truth with moved borders and some
other classes, and a hundred scored instances, as FC-CLIP gives.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask

from ovseg.evaluation.average_precision import AveragePrecision
from ovseg.evaluation.mean_iou import MeanIoU
from ovseg.evaluation.panoptic_quality import PanopticQuality
from ovseg.evaluation.subject import Subject
from ovseg.truth import PanopticTruth, TrueInstance, TrueSegment, Truth
from ovseg.types import Instances, Panoptic, Prediction, Segment
from ovseg.vocabulary import Vocabulary, load_vocabulary

SEGMENTS, DETECTIONS = 25, 100


def measure(*, size: Sequence[int], pictures: int) -> dict[str, float]:
    """Median milliseconds of each evaluator and of all together."""
    vocabulary = load_vocabulary("coco_panoptic")
    subject = Subject(vocabulary, (True,) * len(vocabulary))
    measures: dict[str, Callable[[Prediction, Truth], object]] = {
        "panoptic_quality": PanopticQuality(subject=subject).measure,
        "mean_iou": MeanIoU(subject=subject).measure,
        "average_precision": AveragePrecision(subject=subject).measure,
    }
    drawn = [_draw(vocabulary, (size[0], size[1]), seed) for seed in range(pictures)]
    milliseconds: dict[str, list[float]] = {name: [] for name in measures}
    for prediction, truth in [drawn[0], *drawn]:
        for name, work in measures.items():
            start = time.thread_time()
            work(prediction, truth)
            milliseconds[name].append(1000 * (time.thread_time() - start))
    counted = {name: values[1:] for name, values in milliseconds.items()}  # the first is warm-up
    together = [sum(one) for one in zip(*counted.values(), strict=True)]
    return {
        **{name: statistics.median(values) for name, values in counted.items()},
        "together": statistics.median(together),
        "together_largest": max(together),
    }


def _draw(vocabulary: Vocabulary, size: tuple[int, int], seed: int) -> tuple[Prediction, Truth]:
    random = np.random.default_rng(seed)
    is_thing = [entry.is_thing for entry in vocabulary.classes]
    labels = random.integers(0, len(vocabulary), SEGMENTS)
    true_ids = _regions(random, size)
    ids = np.roll(true_ids, (3, -4), (0, 1))
    named = np.where(random.random(SEGMENTS) < 0.7, labels, random.integers(0, len(vocabulary), SEGMENTS))
    things = [place for place in range(SEGMENTS) if is_thing[labels[place]]]
    masks = np.stack([ids == 1 + random.integers(0, SEGMENTS) for _ in range(DETECTIONS)])
    detected = random.choice(np.flatnonzero(is_thing), DETECTIONS)
    prediction = Prediction(
        vocabulary,
        size,
        semantic=torch.from_numpy(named[ids - 1].astype(np.int32)),
        panoptic=Panoptic(
            torch.from_numpy(ids),
            tuple(
                Segment(place + 1, int(label), is_thing[label], None, int((ids == place + 1).sum()))
                for place, label in enumerate(named)
            ),
        ),
        instances=Instances(
            torch.from_numpy(masks),
            torch.from_numpy(detected),
            torch.from_numpy(random.random(DETECTIONS).astype(np.float32)),
        ),
    )
    truth = Truth(
        size,
        semantic=labels[true_ids - 1].astype(np.int16),
        panoptic=PanopticTruth(
            true_ids, tuple(TrueSegment(place + 1, int(label)) for place, label in enumerate(labels))
        ),
        instances=tuple(_instance(true_ids == place + 1, int(labels[place])) for place in things),
    )
    return prediction, truth


def _regions(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Ids from 1: each pixel belongs to the nearest of some places, by a distance of its own each."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    places = random.random((SEGMENTS, 2)) * size
    weights = random.uniform(0.5, 2.0, SEGMENTS)
    distances = [
        weight * np.hypot(rows - row, columns - column)
        for (row, column), weight in zip(places, weights, strict=True)
    ]
    nearest = np.argmin(distances, axis=0) + 1
    nearest[:, :SEGMENTS] = np.arange(1, SEGMENTS + 1)  # each has some pixels
    ids: np.ndarray = nearest.astype(np.int32)
    return ids


def _instance(mask: np.ndarray, label: int) -> TrueInstance:
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return TrueInstance(runs, label, float(mask.sum()))
