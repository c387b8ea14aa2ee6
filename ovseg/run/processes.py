"""One run in several processes, as ``torchrun`` starts them.

Only words are exchanged ("done", "go on"), through gloo; records go through files of a folder that all of
them see. So it makes no difference to the numbers how many processes there are.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TypeVar

import torch
import torch.distributed as dist

from ovseg.errors import ConfigError, OvsegError

Said = TypeVar("Said")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others; one that has died is noticed at once."""


class StoppedError(OvsegError):
    """This process ended because another one did."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is.

    Attributes:
        rank: 0 is the one that begins, merges and prints.
        count: of all.
        local_rank: among those of this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the one that begins, merges and prints."""
        return self.rank == 0

    def first(self, act: Callable[[], Said]) -> Said:
        """What `act` gives in the first process, in every process; the others wait for it.

        Raises:
            StoppedError: in the others, `act` failed in the first, or the first has died.
        """
        if self.count == 1:
            return act()
        said: list[tuple[bool, Said | None]] = [(False, None)]
        try:
            if self.is_first:
                said = [(True, act())]
        finally:
            with _noticing_deaths(self):
                dist.broadcast_object_list(said, src=0)
        done, value = said[0]
        if not done:
            raise StoppedError(f"{self} stops, because the first one has failed; it says why.")
        return value  # type: ignore[return-value]

    def wait(self) -> None:
        """Return when all processes have come here.

        Raises:
            StoppedError: one has died.
        """
        if self.count > 1:
            with _noticing_deaths(self):
                dist.barrier()

    def leave(self) -> None:
        """Part from the others, when nothing is left that takes more than one process."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def device(self, asked: str) -> str:
        """The device of this process, where all were asked for the same: each takes a GPU of its own."""
        if self.count == 1 or not (asked in ("auto", "cuda") and torch.cuda.is_available()):
            return asked
        return f"cuda:{self.local_rank}"

    def __str__(self) -> str:
        return f"process {self.rank + 1} of {self.count}"


def processes_of(environment: Mapping[str, str] = os.environ) -> Processes:
    """What ``torchrun`` says of this process; one process where it says nothing.

    Raises:
        ConfigError: what it says is no number.
    """
    words = [environment.get(name, default) for name, default in _DEFAULTS.items()]
    if not all(word.isdigit() for word in words):
        listed = ", ".join(f"{name}={word}" for name, word in zip(_DEFAULTS, words, strict=True))
        raise ConfigError(f"The environment has {listed}. Unset these, or let torchrun set them.")
    return Processes(*map(int, words))


@contextmanager
def joined(processes: Processes, *, backend: str = "gloo") -> Iterator[None]:
    """Connect to the other processes for the time of the block, and say so when told to stop.

    Args:
        processes: this one and how many there are.
        backend: of `torch.distributed`, by kind of device; the CPU's must be gloo.

    Raises:
        StoppedError: this process was told to stop, as torchrun does when another one has died.
    """
    if processes.count == 1:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(
            f"{processes} was told to stop, most likely because another one has died; torchrun says which. "
            f"{_GOES_ON}"
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with _noticing_deaths(processes):
            dist.init_process_group(backend, timeout=PATIENCE)
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        processes.leave()


@contextmanager
def _noticing_deaths(processes: Processes) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise StoppedError(
            f"{processes} cannot reach the others any more: one has died. {_GOES_ON}"
        ) from error


_GOES_ON = (
    "Nothing is lost: run the same command again and it goes on (an evaluation with any number of processes, "
    "a training with as many as before)."
)
_DEFAULTS = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
