"""Pictures with Cityscapes' instance ids, drawn from a seed, and predictions for them."""

from dataclasses import dataclass

import numpy as np

from helpers.drawn_instances import prediction_of, run_lengths
from ovseg.truth import IGNORED, TrueInstance, Truth
from ovseg.types import Prediction
from ovseg.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary("cityscapes")
LABELS = {entry.id: label for label, entry in enumerate(VOCABULARY.classes)}
THINGS = tuple(entry.id for entry in VOCABULARY.classes if entry.is_thing)
SIZE = (120, 200)
CARAVAN = 29


@dataclass(frozen=True)
class Street:
    """A picture.

    Attributes:
        ids: as in the publisher's maps: ``class * 1000 + number`` for an instance, otherwise the class.
        classes: of each prediction, as the publisher's ids.
    """

    ids: np.ndarray
    classes: list[int]
    prediction: Prediction
    truth: Truth


def draw_street(seed: int, *, regions: int = 24, predicted: int = 30) -> Street:
    """A picture with instances of all sizes, groups, void, and caravans, which are not evaluated."""
    random = np.random.default_rng(seed)
    ids = np.full(SIZE, 7)
    few = THINGS[:4]
    for number, blob in enumerate(_blobs(random, regions)):
        kind = random.random()
        category = int(random.choice(few))
        ids[blob] = category * 1000 + number if kind < 0.7 else category
        if kind > 0.8:
            ids[blob] = random.choice([0, 4, 21, 29, CARAVAN * 1000 + number])
    instances = [int(value) for value in np.unique(ids) if value >= 1000]
    masks, classes = _blobs(random, predicted), random.choice([*few, THINGS[5], 7], predicted)
    for index in range(predicted if instances else 0):
        if random.random() < 0.8:
            source = int(random.choice(instances))
            masks[index] = np.roll(ids == source, random.integers(-2, 3, 2), (0, 1))
            classes[index] = source // 1000 if source // 1000 != CARAVAN else few[0]
    scores = random.integers(1, 8, predicted) / 7
    labels = [LABELS[int(category)] for category in classes]
    return Street(ids, classes.tolist(), prediction_of(masks, labels, scores, VOCABULARY), truth_of(ids))


def truth_of(ids) -> Truth:
    """What the data set would give."""
    categories = np.where(ids >= 1000, ids // 1000, ids)
    semantic = np.vectorize(lambda category: LABELS.get(category, IGNORED))(categories).astype(np.int16)
    instances = tuple(
        TrueInstance(
            run_lengths(ids == value),
            LABELS.get(category, IGNORED),
            float((ids == value).sum()),
            is_crowd=value < 1000,
        )
        for value in np.unique(ids).tolist()
        for category in [value // 1000 if value >= 1000 else value]
        if category in THINGS or value // 1000 == CARAVAN
    )
    return Truth(SIZE, semantic, instances=instances)


def _blobs(random, count: int):
    """Rectangles; one in ten is empty."""
    masks = np.zeros((count, *SIZE), dtype=bool)
    for mask in masks:
        if random.random() > 0.1:
            top, left = random.integers(0, SIZE[0] - 4), random.integers(0, SIZE[1] - 4)
            height, width = np.exp(random.uniform(1, 4, 2)).astype(int)
            mask[top : top + height, left : left + width] = True
    return masks
