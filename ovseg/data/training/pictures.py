"""From a place in the stream to a picture that can be trained on; runs in worker processes.

A picture that cannot be read does not end a run: another, drawn by chance from the seed and the place, stands
in for it, and the fault is told once. So it is, silently, for a picture that turns out to have no segment but
crowds, which is left out by rule. When `ATTEMPTS` pictures in a row fail, which happens only where a large
part of the data set is broken, the run ends with an error rather than train on the little that is left.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Int16, UInt8
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors

from ovseg.data.training.order import SUBSTITUTE, VIEW, picture_at, random_numbers
from ovseg.data.training.truths import segments_of, usable_pictures
from ovseg.dataset import Dataset
from ovseg.errors import ConfigError, DataError, LabelError

ATTEMPTS = 10
"""Pictures tried for one place. If a tenth of all is broken, all fail once in 10 thousand million places."""

Transform = Callable[[tv_tensors.Image, tv_tensors.Mask], tuple[tv_tensors.Image, tv_tensors.Mask]]
"""A v2 transform of a picture (3, h, w) and its map of segments (h, w), all to one size."""


class Sample(NamedTuple):
    """One training picture, small enough to be sent to another process.

    Attributes:
        image: RGB in 0..255.
        segments: number of the target that a pixel belongs to, `VOID` where it is in none.
        labels: class index of each target, those without a pixel too.
        faults: what was wrong with pictures that this one stands for.
    """

    image: UInt8[Tensor, "h w 3"]
    segments: Int16[Tensor, "h w"]
    labels: Int[Tensor, " n"]
    faults: tuple[str, ...]


class Collated(NamedTuple):
    """Samples of one batch; attributes as in `Sample`, each for all."""

    images: UInt8[Tensor, "b h w 3"]
    segments: Int16[Tensor, "b h w"]
    labels: tuple[Int[Tensor, " _"], ...]
    faults: tuple[str, ...]


class TrainingPictures(TorchDataset[Sample | DataError]):
    """The stream of training pictures of a data set; an item is a function of seed and place.

    Args:
        dataset: pictures with panoptic or semantic truth.
        transform: what is done to each; it may draw from torch's global generator, which is seeded for it.
        seed: of the order and of all that is drawn.

    Raises:
        ConfigError: the seed is negative.
        DataError: the data set has no picture to train on, or no truth of the kind that is needed.
    """

    def __init__(self, dataset: Dataset, *, transform: Transform, seed: int) -> None:
        if seed < 0:
            raise ConfigError(f"seed={seed}: give a whole number from 0.")
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.usable = usable_pictures(dataset)

    def __len__(self) -> int:
        """Pictures in an epoch."""
        return len(self.usable)

    @cached_property
    def digest(self) -> str:
        """Of the names of the pictures that are trained on, and of their classes."""
        keys = self.dataset.keys
        classes = (name for entry in self.dataset.vocabulary.classes for name in entry.names)
        return sha256("\n".join((*(keys[index] for index in self.usable), *classes)).encode()).hexdigest()

    def index_at(self, place: int, attempt: int = 0) -> int:
        """The data set's index of the picture at a place; later attempts are the substitutes."""
        number = picture_at(place, len(self), self.seed)
        if attempt:
            number = int(random_numbers(self.seed, SUBSTITUTE, place, attempt).integers(len(self)))
        return int(self.usable[number])

    def __getitem__(self, place: int) -> Sample | DataError:
        """The picture at a place of the stream, or the error that must end the run.

        It is returned, not raised, because torch would wrap an error of a worker in its traceback.
        """
        faults: list[str] = []
        for attempt in range(ATTEMPTS):
            index = self.index_at(place, attempt)
            try:
                found = self._read(index)
            except LabelError as error:
                return error
            except DataError as error:
                faults.append(str(error))
                continue
            if found is not None:
                image, segments, labels = found
                with _seeded(int(random_numbers(self.seed, VIEW, place).integers(2**63))):
                    image, segments = self.transform(image, segments)
                pixels = image.as_subclass(Tensor).permute(1, 2, 0)
                return Sample(pixels, segments.as_subclass(Tensor), labels, tuple(faults))
        last = f"The last that cannot be read: {faults[-1]}" if faults else "None has a segment but crowds."
        return DataError(
            f"{ATTEMPTS} pictures, drawn by chance from {len(self)}, cannot be trained on. {last} Look at "
            "the whole data set with 'ovseg check data' and repair it: too little is left to train on."
        )

    def _read(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask, Tensor] | None:
        """A picture, its map of targets and their classes; None where it has no target."""
        segments, labels = segments_of(self.dataset, index)
        if not len(labels):
            return None
        image = self.dataset.image(index)
        if image.shape[:2] != segments.shape:
            raise DataError(
                f"{self.dataset.keys[index]} has {image.shape[1]} x {image.shape[0]} pixels, its labels have "
                f"{segments.shape[1]} x {segments.shape[0]}. One of them is another picture's or was "
                "resized: get both again."
            )
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        mask = tv_tensors.Mask(torch.from_numpy(segments))
        return tv_tensors.Image(pixels), mask, torch.from_numpy(labels)


def collate(samples: Sequence[Sample | DataError]) -> Collated | DataError:
    """Samples as one; an error among them stands for all."""
    good = []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        good.append(sample)
    images, segments, labels, faults = zip(*good, strict=True)
    told = tuple(fault for of_one in faults for fault in of_one)
    return Collated(torch.stack(images), torch.stack(segments), labels, told)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's global generator for processors, seeded inside and as it was after.

    Not `torch.manual_seed`, which would also note the seed for devices, call after call.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
