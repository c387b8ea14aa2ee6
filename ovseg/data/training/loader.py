"""Training batches, without an end, made ahead of time in worker processes.

What travels from a worker is a picture and one map of segments, 5 MB at 1024 x 1024. Masks, a megabyte each,
are made from it where they are wanted: on the device, by one comparison.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ovseg.data.training.order import Places, Share
from ovseg.data.training.pictures import Collated, TrainingPictures, collate
from ovseg.data.training.transforms import LargeScaleJitter
from ovseg.dataset import Dataset
from ovseg.errors import ConfigError, DataError
from ovseg.types import Targets, TrainingBatch

logger = logging.getLogger(__name__)


class TrainingLoader:
    """One process's training batches; batch k is a function of the pictures' seed, k and the share.

    Iterating begins at `position` and never ends. Workers live as long as this does.

    Args:
        pictures: the stream of pictures.
        share: what of it this process sees.
        workers: processes that read ahead; 0 reads when asked.
        prefetch: batches that each worker is ahead.
        device: that batches are put on; page-locked memory and copies beside the computation where it is a
            GPU.
        start_method: how workers are started (``fork``, ``spawn``, ``forkserver``); None: as Python does.
    """

    def __init__(
        self,
        pictures: TrainingPictures,
        *,
        share: Share,
        workers: int = 0,
        prefetch: int = 2,
        device: torch.device | None = None,
        start_method: str | None = None,
    ) -> None:
        self.pictures = pictures
        self.share = share
        self.position = 0
        self._device = device or torch.device("cpu")
        self._places = Places(share)
        self._told: set[str] = set()
        self._loader: DataLoader[Any] = DataLoader(
            pictures,
            batch_sampler=self._places,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=self._device.type == "cuda",
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            multiprocessing_context=start_method if workers else None,
            generator=torch.Generator(),  # or each pass would draw from the global one, which others count on
        )

    def set_position(self, iteration: int) -> None:
        """Let the next pass begin with the batch of an iteration, counted from 0."""
        self.position = iteration

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Batches from `position` on, which counts those handed out.

        Raises:
            DataError: a class index is outside the list, or nearly nothing can be read; names the picture.
        """
        self._places.start = self.position
        for collated in self._loader:
            if isinstance(collated, DataError):
                # Not itself: an error that this frame holds is in a circle with it, and workers of a loader
                # that is only freed with a circle take five seconds to end.
                raise DataError(str(collated))
            self._tell(collated.faults)
            self.position += 1
            yield batch_of(collated, self._device)

    def keys(self, iteration: int) -> list[str]:
        """Names of the pictures in a batch, for messages; substitutes of broken ones not counted."""
        names = self.pictures.dataset.keys
        return [names[self.pictures.index_at(place)] for place in self.share.places(iteration)]

    def state_dict(self) -> dict[str, int | str]:
        """Where it stands and what that depends on; the same in all processes."""
        return {
            "iteration": self.position,
            "seed": self.pictures.seed,
            "pictures_per_iteration": self.share.all_together,
            "pictures": len(self.pictures),
            "digest": self.pictures.digest,
        }

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Go on from a state, with any number of workers and processes.

        Raises:
            ConfigError: the seed, the pictures or their number per iteration are others.
        """
        own = self.state_dict()
        other = [key for key in own if key not in ("iteration", "digest") and state[key] != own[key]]
        if other or state["digest"] != own["digest"]:
            said = [f"{key} was {state[key]}, now {own[key]}" for key in other]
            raise ConfigError(
                "These are not the pictures that the run began with: "
                f"{'; '.join(said) or 'their names or classes are others'}. Go on with the same data set, "
                "seed and pictures per iteration (batch size times processes), or begin a new run."
            )
        self.position = int(state["iteration"])

    def _tell(self, faults: tuple[str, ...]) -> None:
        for fault in faults:
            if fault not in self._told:
                self._told.add(fault)
                logger.warning("%s Training goes on with another picture in its place.", fault)


def training_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    crop: tuple[int, int] = (1024, 1024),
    scales: tuple[float, float] = (0.1, 2.0),
    flip: float = 0.5,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    device: torch.device | None = None,
    start_method: str | None = None,
) -> TrainingLoader:
    """The official recipe's batches: flip, large-scale jitter, crop of fixed size.

    Args:
        dataset: pictures with panoptic or semantic truth.
        batch_size: pictures per batch of this process.
        crop: (height, width) of training pictures.
        scales: the smallest and the largest size; at 1 a picture just fits into the crop.
        flip: how probable it is that a picture is mirrored.
        seed: of the order and of all that is drawn.
        rank: number of this process, from 0.
        world_size: processes.
        workers: processes that read ahead; 0 reads when asked.
        prefetch: batches that each worker is ahead.
        device: that batches are put on; None: the processor.
        start_method: how workers are started; None: as Python does.

    Raises:
        ConfigError: a value is out of its range.
        DataError: there is no picture to train on.
    """
    share = Share(batch_size, rank, world_size)
    transform = LargeScaleJitter(crop=crop, scales=scales, flip=flip)
    return TrainingLoader(
        TrainingPictures(dataset, transform=transform, seed=seed),
        share=share,
        workers=workers,
        prefetch=prefetch,
        device=device,
        start_method=start_method,
    )


def batch_of(collated: Collated, device: torch.device) -> TrainingBatch:
    """A batch on a device, with a mask per target."""
    images, segments = (part.to(device, non_blocking=True) for part in (collated.images, collated.segments))
    labels = [one.to(device, non_blocking=True) for one in collated.labels]
    targets = [Targets(one, _masks(maps, len(one))) for one, maps in zip(labels, segments, strict=True)]
    return TrainingBatch(images, tuple(targets))


def _masks(segments: Tensor, count: int) -> Tensor:
    numbers = torch.arange(count, dtype=segments.dtype, device=segments.device)
    return segments == numbers[:, None, None]
