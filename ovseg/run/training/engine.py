"""One step of training, on one device or many: forward, backward, clip, step.

The engine is PyTorch's own, under its own launcher: `DistributedDataParallel` in processes that ``torchrun``
starts, `torch.autocast`, `torch.amp.GradScaler`, `torch.compile`. Lightning Fabric wraps the same four; it
would be a package more, a second way to start processes beside that of ``ovseg evaluate``, and it refuses
frozen dataclasses such as `TrainingBatch`. What is left to write is this file.

Source of the order of steps: detectron2's `AMPTrainer` with Mask2Former's full-model gradient clipping.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ovseg.errors import OvsegError
from ovseg.interfaces import Precision, Training
from ovseg.run.processes import Processes, StoppedError
from ovseg.run.training.schedule import Schedule
from ovseg.types import TrainingBatch

GRADIENT = "the gradient"


class DivergedError(OvsegError):
    """A loss or the gradient is not a finite number."""


@dataclass(frozen=True)
class Step:
    """What came of one iteration.

    Attributes:
        losses: by name, means over the processes and the parts of the batch.
        gradient_norm: L2 norm of all gradients together, before clipping.
        learning_rate: of the first parameter group.
    """

    losses: Mapping[str, float]
    gradient_norm: float
    learning_rate: float


class Engine:
    """A method in training with its optimizer.

    Args:
        training: what is trained, on `device`.
        optimizer: whose groups' rates are those of factor 1.
        schedule: of the rates.
        device: of this process.
        precision: that autocast computes in; fp16 scales the loss.
        clip_norm: most that the L2 norm of all gradients together may be; None for any.
        seed: of the random points and whatever else a method draws per picture.
        processes: that compute one batch together.
        compiled: run the module through `torch.compile`.
    """

    def __init__(
        self,
        *,
        training: Training,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        device: torch.device,
        precision: Precision = "fp32",
        clip_norm: float | None = None,
        seed: int = 0,
        processes: Processes = Processes(),  # noqa: B008 (frozen)
        compiled: bool = False,
    ) -> None:
        self.training = training
        self.module = cast(nn.Module, training)
        self.optimizer = optimizer
        self.schedule = schedule
        self.device = device
        self.clip_norm = clip_norm
        self.seed = seed
        self.processes = processes
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16" and device.type != "cpu")
        self._dtype = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if compiled:
            self.module.compile()
        self._wrapped: nn.Module = self.module
        if processes.count > 1:
            self._wrapped = DistributedDataParallel(self.module)

    def step(self, iteration: int, parts: Sequence[TrainingBatch]) -> Step:
        """Train on the pictures of one iteration.

        Args:
            iteration: counted from 0; decides the rate and the random points.
            parts: of this process's batch; gradients are added up over them.

        Raises:
            DivergedError: a loss or the gradient is not finite; the parameters are as before.
            StoppedError: another process has died.
        """
        with _noticing_deaths(self.processes):
            return self._step(iteration, parts)

    def _step(self, iteration: int, parts: Sequence[TrainingBatch]) -> Step:
        factor = self.schedule.factor(iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        found = [self._accumulate(iteration, place, parts) for place in range(len(parts))]
        losses = self._means(found)
        self._require_finite(losses)
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        if not self.scaler.is_enabled():  # a scaler meets infinite gradients by a smaller scale
            self._require_finite({GRADIENT: norm})
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return Step(losses, norm, self.optimizer.param_groups[0]["lr"])

    def generators(self, iteration: int, place: int, parts: Sequence[TrainingBatch]) -> list[torch.Generator]:
        """One for each picture of a part: a function of the seed and the picture's number in the whole run.

        So it makes no difference to a picture's points which process computes it, and in what company.
        """
        size = len(parts[place].images)
        first = ((iteration * len(parts) + place) * self.processes.count + self.processes.rank) * size
        return [_seeded(f"{self.seed}/{first + number}", self.device) for number in range(size)]

    def _accumulate(self, iteration: int, place: int, parts: Sequence[TrainingBatch]) -> dict[str, Tensor]:
        generators = self.generators(iteration, place, parts)
        with self._alone(place < len(parts) - 1):
            with self._autocast():
                batch = parts[place].to(self.device, non_blocking=True)
                losses = self._wrapped(batch, generator=generators)
            total = torch.stack([loss.float() for loss in losses.values()]).sum() / len(parts)
            self.scaler.scale(total).backward()
        return {key: loss.detach() for key, loss in losses.items()}

    def _alone(self, alone: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged once per iteration, with the last part."""
        if alone and isinstance(self._wrapped, DistributedDataParallel):
            return cast(AbstractContextManager[Any], self._wrapped.no_sync())
        return nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None)

    def _means(self, found: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        names = list(found[0])
        values = torch.stack([torch.stack([part[key].float() for key in names]) for part in found]).mean(0)
        if self.processes.count > 1:
            dist.all_reduce(values)
            values /= self.processes.count
        return dict(zip(names, values.tolist(), strict=True))

    def _clip(self) -> float:
        parameters = [tensor for group in self.optimizer.param_groups for tensor in group["params"]]
        limit = torch.inf if self.clip_norm is None else self.clip_norm
        return float(nn.utils.clip_grad_norm_(parameters, limit))

    def _require_finite(self, values: Mapping[str, float]) -> None:
        bad = [f"{key} is {value}" for key, value in values.items() if not abs(value) < torch.inf]
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise DivergedError(f"{', '.join(bad[:3])}{more}")


_LOST = ("gloo", "NCCL", "by peer")
"""Words in torch's errors about other processes, which have no class of their own."""


@contextmanager
def _noticing_deaths(processes: Processes) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if processes.count == 1 or not any(word in str(error) for word in _LOST):
            raise
        raise StoppedError(
            f"{processes} cannot reach the others: one has died, and says why if it could. Start the same "
            "command again: it goes on from the last checkpoint."
        ) from error


def _seeded(text: str, device: torch.device) -> torch.Generator:
    number = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
    return torch.Generator(device).manual_seed(number)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Ask torch for algorithms that give the same bits in every run, for the time of the block.

    Where a GPU has none, torch warns and takes the fast one.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned_only)
