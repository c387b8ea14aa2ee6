"""Which picture stands where in an endless stream of training pictures, and which process sees it when.

The stream runs through all pictures again and again, each time in another order. Places in it are numbered
from 0; a batch takes the next ones. What stands at a place depends on the seed alone, so processes need not
talk to each other, and a run may go on anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from ovseg.errors import ConfigError

ORDER, VIEW, SUBSTITUTE = 0, 1, 2
"""What numbers are drawn for; each use has a stream of its own."""


def random_numbers(seed: int, use: int, *place: int) -> np.random.Generator:
    """Numbers by chance that depend on what is given and on nothing else."""
    return np.random.default_rng((seed, use, *place))


def picture_at(place: int, pictures: int, seed: int) -> int:
    """The number of the picture at a place of the stream, 0 to `pictures` - 1."""
    epoch, within = divmod(place, pictures)
    return int(_shuffled(pictures, seed, epoch)[within])


@lru_cache(maxsize=2)  # a batch may reach over the end of an epoch
def _shuffled(pictures: int, seed: int, epoch: int) -> Int64[np.ndarray, " pictures"]:
    return random_numbers(seed, ORDER, epoch).permutation(pictures)


@dataclass(frozen=True)
class Share:
    """What one of several processes sees of the stream.

    Two processes with batches of b see together, in order, what one with batches of 2b sees.

    Attributes:
        batch_size: pictures per batch of this process.
        rank: number of this process, from 0.
        world_size: processes.

    Raises:
        ConfigError: they are not positive, or there is no such process.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size}: give at least 1 picture per batch.")
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"rank={self.rank}, world_size={self.world_size}: processes are counted from 0 to "
                "world_size - 1."
            )

    @property
    def all_together(self) -> int:
        """Pictures per iteration of all processes."""
        return self.batch_size * self.world_size

    def places(self, iteration: int) -> list[int]:
        """The places of the stream that are in this process's batch of an iteration, from 0."""
        first = iteration * self.all_together + self.rank * self.batch_size
        return list(range(first, first + self.batch_size))


class Places:
    """The places of batch after batch, without an end; a batch sampler of torch's loader.

    Attributes:
        start: the iteration that the next pass over it begins with.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        iteration = self.start
        while True:
            yield self.share.places(iteration)
            iteration += 1
