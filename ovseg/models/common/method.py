"""What methods share: pictures and vocabularies in any form, and text embeddings that are made once."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import nn

from ovseg.data.images import as_image
from ovseg.interfaces import Precision, TextEncoder
from ovseg.models.common.memory import leave_file
from ovseg.models.common.precision import compute_dtype
from ovseg.models.common.text import TextCache, embed_vocabulary
from ovseg.types import TASKS, Image, Prediction, Task, TextEmbeddings, checked_tasks
from ovseg.vocabulary import Vocabulary, as_vocabulary
from ovseg.weights.checkpoint import load_strict, read_state_dict

ImageLike = str | os.PathLike[str] | PIL.Image.Image | np.ndarray
VocabularyLike = Vocabulary | str | Path | Sequence[str]


class BaseMethod(nn.Module, ABC):
    """A method whose parts are the submodules of a torch module.

    Args:
        text_cache: where text embeddings are looked for before they are computed.
        templates: prompts for vocabularies that bring none.
        training_names: names of the classes that the method was trained with; empty if it was not.
    """

    def __init__(
        self, *, text_cache: TextCache, templates: Sequence[str], training_names: Sequence[str]
    ) -> None:
        super().__init__()
        self._text_cache = text_cache
        self._templates = tuple(templates)
        self._training_names = tuple(training_names)
        self._completed_from: tuple[str, ...] = ()

    @property
    def training_names(self) -> tuple[str, ...]:
        """Names of the classes that it was trained with; empty if it was not."""
        return self._training_names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def completed_from(self) -> tuple[str, ...]:
        """Names of weights that the file of `load_weights` lacked and that came from files of their own."""
        return self._completed_from

    @property
    def templates(self) -> tuple[str, ...]:
        """Prompts for vocabularies that bring none."""
        return self._templates

    @abstractmethod
    def predict_batch(
        self, images: Sequence[Image], vocabulary: Vocabulary, *, tasks: Sequence[Task]
    ) -> list[Prediction]:
        """Segment pictures; the result for each equals what it would be alone."""

    def load_weights(self, path: Path) -> None:
        """Fill from one file of all parts, with this method's own keys (`state_dict`).

        A method with an official layout of its own overrides this. ``weights=parts`` needs no such file: it
        fills each part from its own.

        Raises:
            WeightsError: the file is damaged or of another architecture.
        """
        load_strict(self, read_state_dict(path), source=str(path))

    def prepare(self, *, device: torch.device, precision: Precision) -> None:
        """Move to a device; `precision` is that of the image encoders, everything else stays in float32.

        Raises:
            ConfigError: the device cannot compute in that precision.
        """
        self.to(device)
        dtype = compute_dtype(device, precision)
        for part in self.children():
            set_image_dtype = getattr(part, "set_image_dtype", None)
            if set_image_dtype is not None:
                set_image_dtype(dtype)
        if dtype != torch.float32 and device.type == "cpu":
            leave_file(self)

    def predict(
        self, image: ImageLike, vocabulary: VocabularyLike, *, tasks: Sequence[str] = TASKS
    ) -> Prediction:
        """Segment one picture.

        Args:
            image: a path, a PIL picture, or a uint8 RGB array (height, width, 3).
            vocabulary: a `Vocabulary`, the name of a built-in one, the path of a class file, or class names
                such as ``["cat", "dog|puppy", "stuff:grass"]``.
            tasks: the views to make, of "semantic", "panoptic" and "instance".

        Raises:
            DataError: the picture cannot be read.
            VocabularyError: the vocabulary cannot be read or encoded.
            ConfigError: a task is unknown.
        """
        return self.predict_batch([as_image(image)], as_vocabulary(vocabulary), tasks=checked_tasks(tasks))[0]

    def embed(self, encoder: TextEncoder, vocabulary: Vocabulary) -> TextEmbeddings:
        """The vocabulary in text space, from the cache if it is there."""
        return embed_vocabulary(
            encoder,
            vocabulary,
            templates=self._templates,
            cache=self._text_cache,
            training_names=self._training_names,
        )
