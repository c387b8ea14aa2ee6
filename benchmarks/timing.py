"""Seconds of two sides in turns, multiplications, and the best rate of this processor."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from ovseg.models.common.linear import Backend, best_of, linear, linear_backend

T = TypeVar("T")

LEAST_SECONDS = 0.01
"""A short piece of work is timed again until so much time has passed, and at least three times."""


@dataclass(frozen=True)
class Turns:
    """Medians over the repeats.

    Attributes:
        ratio: of `seconds` to `reference_seconds`, taken pair by pair.
        seconds: of our side.
        reference_seconds: of what it is divided by.
        stages: seconds per stage of our side.
    """

    ratio: float
    seconds: float
    reference_seconds: float
    stages: dict[str, float]


def fastest_seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Of several runs, after one that is not counted."""
    work()
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < LEAST_SECONDS:
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)


def in_turns(
    ours: Callable[[], dict[str, float]],
    reference: Callable[[], object],
    device: torch.device,
    repeats: int,
) -> Turns:
    """Time both sides in turns, after one run of each that is not counted; `ours` returns its stages."""
    ours(), reference()
    pairs, stages = [], []
    for _ in range(repeats):
        theirs, _ = timed(reference, device)
        seconds, split = timed(ours, device)
        pairs.append((seconds, theirs))
        stages.append(split)
    return Turns(
        ratio=statistics.median(seconds / theirs for seconds, theirs in pairs),
        seconds=statistics.median(seconds for seconds, _ in pairs),
        reference_seconds=statistics.median(theirs for _, theirs in pairs),
        stages={name: statistics.median(split[name] for split in stages) for name in stages[0]},
    )


def timed(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Seconds of one run, until the device has finished, and its result."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result


def gflop(work: Callable[[], object]) -> float:
    """10^9 multiplications and additions of one run, with the plain linear layers that torch can count."""
    with FlopCounterMode(display=False) as counter, linear_backend("plain"):
        work()
    return counter.get_total_flops() / 1e9


def best_gflops(dtype: torch.dtype) -> float:
    """10^9 operations a second of large products on the CPU, with the faster library."""
    backends: tuple[Backend, ...] = ("plain", "onednn") if dtype == torch.float32 else ("onednn",)
    x, weight = torch.randn(4096, 1536).to(dtype), torch.randn(1536, 1536).to(dtype)
    seconds = []
    for backend in backends:
        with torch.no_grad(), linear_backend(backend):
            seconds.append(best_of(lambda: linear(x, weight), repeats=10))
    return 2 * x.numel() * weight.shape[0] / min(seconds) / 1e9
