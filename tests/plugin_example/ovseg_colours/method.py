"""The nearest colour word for each pixel, and its regions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ovseg.interfaces import Backbone, Precision
from ovseg.types import Image, Instances, Panoptic, Prediction, Segment, Task
from ovseg.vocabulary import Vocabulary


class NearestColour:
    """Backbone, then the class whose colour is nearest; a class of more than a few pixels is one region.

    Args:
        backbone: whose text space is compared in.
        smallest_area: pixels that a region must have.
    """

    def __init__(self, *, backbone: Backbone, smallest_area: int = 16) -> None:
        self.backbone = backbone
        self.smallest_area = smallest_area

    def load_weights(self, path: Path) -> None:
        """There are none."""

    def prepare(self, *, device: torch.device, precision: Precision) -> None:
        """Everything is quick enough on the CPU."""

    def predict_batch(
        self, images: Sequence[Image], vocabulary: Vocabulary, *, tasks: Sequence[Task]
    ) -> list[Prediction]:
        """Segment pictures, one after the other."""
        return [self._predict(image, vocabulary, tasks) for image in images]

    def _predict(self, image: Image, vocabulary: Vocabulary, tasks: Sequence[Task]) -> Prediction:
        labels = self._labels(image, vocabulary)
        regions = [
            (label, labels == label)
            for label in range(len(vocabulary))
            if int((labels == label).sum()) >= self.smallest_area
        ]
        ids = torch.zeros_like(labels)
        segments = []
        for number, (label, mask) in enumerate(regions, start=1):
            ids[mask] = number
            is_thing = vocabulary.classes[label].is_thing
            segments.append(Segment(number, label, is_thing, None, int(mask.sum())))
        things = [(label, mask) for label, mask in regions if vocabulary.classes[label].is_thing]
        instances = Instances(
            torch.stack([mask for _, mask in things])
            if things
            else torch.zeros(0, *labels.shape, dtype=torch.bool),
            torch.tensor([label for label, _ in things], dtype=torch.int64),
            torch.ones(len(things)),
        )
        return Prediction(
            vocabulary,
            image.shape[:2],
            labels if "semantic" in tasks else None,
            Panoptic(ids, tuple(segments)) if "panoptic" in tasks else None,
            instances if "instance" in tasks else None,
        )

    def _labels(self, image: Image, vocabulary: Vocabulary) -> Int[Tensor, "h w"]:
        spec = self.backbone.spec
        pixels = (image.astype(np.float32) - spec.pixel_mean) / spec.pixel_std
        dense = self.backbone(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).dense[0]
        colours = self.backbone.encode_text(vocabulary.synonyms)
        distance = torch.cdist(dense.flatten(1).T, colours)
        classes = torch.tensor(vocabulary.class_of_synonym)[distance.argmin(1)].view(1, 1, *dense.shape[1:])
        cell = next(iter(spec.channels))
        full = classes.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[0, 0]
        return full[: image.shape[0], : image.shape[1]]
