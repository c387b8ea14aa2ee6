"""A method without a network: what it says of a picture is a plain function of the pixels."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ovseg.types import Instances, Panoptic, Prediction, Segment

BLOCK = 16
"""Side of the squares in which the picture is looked at."""


def label_map(image, classes):
    """Per pixel (mean red of its block) mod classes, -1 where the block's mean blue is above 250."""
    labels = np.empty(image.shape[:2], np.int64)
    for top in range(0, image.shape[0], BLOCK):
        for left in range(0, image.shape[1], BLOCK):
            block = image[top : top + BLOCK, left : left + BLOCK]
            red, _, blue = block.mean(axis=(0, 1))
            labels[top : top + BLOCK, left : left + BLOCK] = -1 if blue > 250 else int(red) % classes
    return labels


def predict_one(image, vocabulary, tasks):
    labels = label_map(image, len(vocabulary))
    present = [label for label in np.unique(labels).tolist() if label >= 0]
    ids = np.zeros(labels.shape, np.int64)
    segments = []
    for number, label in enumerate(present, start=1):
        ids[labels == label] = number * 300  # beyond one byte, so that a reader must use more than red
        entry = vocabulary.classes[label]
        segments.append(Segment(number * 300, label, entry.is_thing, 0.5, int((labels == label).sum())))
    masks = np.array([labels == label for label in present], bool).reshape(-1, *labels.shape)
    instances = Instances(
        torch.from_numpy(masks),
        torch.tensor(present, dtype=torch.int64),
        torch.linspace(0.9, 0.4, len(present)),
    )
    return Prediction(
        vocabulary,
        labels.shape,
        torch.from_numpy(labels) if "semantic" in tasks else None,
        Panoptic(torch.from_numpy(ids), tuple(segments)) if "panoptic" in tasks else None,
        instances if "instance" in tasks else None,
        {"fake": 0.25},
    )


@dataclass
class FakeMethod:
    """Keeps what it was asked, and fails on request.

    Attributes:
        delay: seconds per call.
        errors: mean red of a picture, rounded -> the error that a batch with such a picture raises.
        batches: sizes and numbers of pictures of the calls so far, as (count, height, width).
    """

    delay: float = 0.0
    errors: dict = field(default_factory=dict)
    batches: list = field(default_factory=list)

    def predict_batch(self, images, vocabulary, *, tasks):
        self.batches.append((len(images), *images[0].shape[:2]))
        time.sleep(self.delay)
        for image in images:
            error = self.errors.get(round(float(image[..., 0].mean())))
            if error is not None:
                raise error
        return [predict_one(image, vocabulary, tasks) for image in images]

    def load_weights(self, path: Path):
        raise NotImplementedError

    def prepare(self, *, device, precision):
        pass
