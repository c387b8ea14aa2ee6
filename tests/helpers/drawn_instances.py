"""Pictures with true and predicted instances, drawn from a seed: overlapping, tied, missed, crowded."""

from dataclasses import dataclass

import numpy as np
import torch
from pycocotools import mask as coco_mask

from ovseg.truth import TrueInstance, Truth
from ovseg.types import Instances, Prediction
from ovseg.vocabulary import ClassEntry, Vocabulary

VOCABULARY = Vocabulary(
    "drawn",
    tuple(
        ClassEntry(names=(name,), is_thing=name != "sky")
        for name in ("cat", "sky", "dog", "cow", "hen", "fox", "emu")
    ),
)
THINGS = (0, 2, 3, 4, 5)
"""Labels that are drawn; the emu never is."""

SIZE = (150, 200)


@dataclass(frozen=True)
class Drawn:
    """A picture."""

    prediction: Prediction
    truth: Truth


def draw(seed: int, *, ties: bool = True, true: int = 9, predicted: int = 30) -> Drawn:
    """A picture with at most so many instances; some are of stuff, some empty, some annotated as crowds."""
    random = np.random.default_rng(seed)
    true_masks, labels = _masks(random, true), random.choice(THINGS[:-1], true)
    crowds = random.random(true) < 0.15
    instances = tuple(
        TrueInstance(
            run_lengths(mask), int(label), float(mask.sum() + random.integers(-3, 4)), is_crowd=bool(crowd)
        )
        for mask, label, crowd in zip(true_masks, labels, crowds, strict=True)
        if mask.any()
    )
    return Drawn(
        predict(random, true_masks, labels, ties=ties, count=predicted),
        Truth(image_size=SIZE, instances=instances),
    )


def predict(random, true_masks, labels, *, ties: bool, count: int) -> Prediction:
    """Shifted copies of true masks, with false ones among them."""
    masks = _masks(random, count)
    given = random.choice([*THINGS, 1], count)
    for index in range(count if len(true_masks) else 0):
        if random.random() < 0.7:
            source = random.integers(len(true_masks))
            masks[index] = np.roll(true_masks[source], random.integers(-4, 5, 2), (0, 1))
            given[index] = labels[source] if random.random() < 0.9 else given[index]
    scores = random.integers(1, 6, count) / 5 if ties else random.random(count)
    return prediction_of(masks, given, scores)


def prediction_of(masks, labels, scores, vocabulary: Vocabulary = VOCABULARY) -> Prediction:
    """A prediction of these instances alone."""
    return Prediction(
        vocabulary,
        masks.shape[-2:],
        instances=Instances(
            torch.from_numpy(np.asarray(masks, dtype=bool)),
            torch.from_numpy(np.asarray(labels, dtype=np.int64)),
            torch.from_numpy(np.asarray(scores, dtype=np.float64)),
        ),
    )


def run_lengths(mask):
    """A mask as COCO's run lengths."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def _masks(random, count: int):
    """Ellipses of all sizes; one in ten is empty."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    masks = np.zeros((count, *SIZE), dtype=bool)
    for mask in masks:
        if random.random() > 0.1:
            center, radii = random.random(2) * SIZE, np.exp(random.uniform(1, 4.6, 2))
            mask[:] = ((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2 < 1
    return masks
