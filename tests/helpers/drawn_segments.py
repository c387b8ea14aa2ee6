"""Small pictures with truth and prediction, drawn at random or given as rows of digits."""

from dataclasses import dataclass

import numpy as np
import torch

from ovseg.evaluation.subject import Subject
from ovseg.truth import IGNORED, PanopticTruth, TrueSegment, Truth
from ovseg.types import NOTHING, Panoptic, Prediction, Segment
from ovseg.vocabulary import ClassEntry, Vocabulary

VOCABULARY = Vocabulary(
    "drawn",
    (
        ClassEntry(("cat",)),
        ClassEntry(("dog",)),
        ClassEntry(("cow",)),
        ClassEntry(("sky",), is_thing=False),
        ClassEntry(("sea",), is_thing=False),
        ClassEntry(("unicorn",)),
    ),
)
SUBJECT = Subject(VOCABULARY, (True, False, True, True, False, False))
UNSEEN = Subject(VOCABULARY, (False,) * len(VOCABULARY))
NEVER = 5
"""The class that nobody draws."""


@dataclass(frozen=True)
class Drawn:
    prediction: Prediction
    truth: Truth


def grid(*rows):
    return np.array([[int(digit) for digit in row] for row in rows], dtype=np.int32)


def panoptic_pair(true_rows, true_segments, rows, segments):
    """Maps as rows of digits; segments as id -> label, a crowd as id -> (label, "crowd")."""
    true_ids, ids = grid(*true_rows), grid(*rows)
    stated = [(id, label if isinstance(label, tuple) else (label, "")) for id, label in true_segments.items()]
    truth = PanopticTruth(true_ids, tuple(TrueSegment(id, of[0], of[1] == "crowd") for id, of in stated))
    return Drawn(
        Prediction(VOCABULARY, ids.shape, panoptic=panoptic(ids, segments)),
        Truth(true_ids.shape, panoptic=truth),
    )


def panoptic(ids, label_of_id):
    is_thing = [entry.is_thing for entry in VOCABULARY.classes]
    segments = tuple(
        Segment(id, label, 0 <= label < len(is_thing) and is_thing[label], None, int((ids == id).sum()))
        for id, label in label_of_id.items()
    )
    return Panoptic(torch.from_numpy(np.array(ids)), segments)


def semantic_pair(true_rows, rows, vocabulary=VOCABULARY):
    true, labels = np.array(true_rows, dtype=np.int16), np.array(rows, dtype=np.int32)
    return Drawn(
        Prediction(vocabulary, labels.shape, semantic=torch.from_numpy(labels)),
        Truth(true.shape, semantic=true),
    )


def draw(seed, size=(11, 13)):
    """A truth with void, crowds and an id that is not listed, and a prediction that is mostly like it."""
    random = np.random.default_rng(seed)
    # Ids as far apart as those of colour-coded files; 9 stays unlisted.
    stated = {0: 0, **dict(enumerate((7045770, 12, 300, 16777215, 4, 90, 1000003, 17), start=1)), 9: 31}
    block = random.integers(0, 10, size=(4, 5))
    true_blocks = np.kron(block, np.ones((3, 3), np.int64))[: size[0], : size[1]]
    true_ids = np.vectorize(stated.get)(true_blocks).astype(np.int32)
    true_segments = tuple(
        TrueSegment(stated[number], int(random.integers(NEVER)), is_crowd=number > 5)
        for number in range(1, 9)
    )
    noisy = np.where(random.random(size) < 0.2, random.integers(0, 10, size=size), true_blocks)
    present = np.unique(noisy[noisy > 0])
    ids = np.searchsorted(present, noisy) + 1
    ids[noisy == 0] = 0
    label_of_true = {segment.id: segment.label for segment in true_segments}
    label_of_id = {}
    for number, from_block in enumerate(present, start=1):
        right = label_of_true.get(stated[from_block], 0)
        label_of_id[number] = right if random.random() < 0.7 else int(random.integers(NEVER))
    semantic = np.full(size, IGNORED, np.int16)
    for segment in true_segments:
        semantic[true_ids == segment.id] = segment.label
    labels = np.full(size, NOTHING, np.int32)
    for id, label in label_of_id.items():
        labels[ids == id] = label
    return Drawn(
        Prediction(VOCABULARY, size, torch.from_numpy(labels), panoptic(ids.astype(np.int32), label_of_id)),
        Truth(size, semantic, PanopticTruth(true_ids, true_segments)),
    )
