"""What a prediction is said to consist of: its products and its passes over memory."""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from passes import passes_seconds, record_passes
from products import floors, record


def work() -> torch.Tensor:
    x = torch.ones(64, 32)
    for _ in range(3):
        x = F.layer_norm(x, (32,)) @ torch.ones(32, 32)
    return F.layer_norm(x[:7], (32,)).softmax(-1)


def test_passes_are_counted_by_operation_and_shape() -> None:
    passes = record_passes(work)
    assert sorted(one.count for one in passes.values()) == [1, 1, 3]
    assert passes_seconds(passes, time.perf_counter) > 0


def test_every_product_and_every_pass_is_timed_by_its_count() -> None:
    ticks = iter(range(10**9))
    products, passes = record(work), record_passes(work)
    assert list(products.values()) == [3]
    found = floors(
        {"all": products}, {"all": passes}, lambda: None, rounds=1, clock=lambda: float(next(ticks))
    )
    # Each look at this clock is a second after the last, and so is the reference.
    assert found["all"]["passes_seconds"] == 5
    assert found["all"]["ratio_with_passes"] == found["all"]["ratio"] + 5
    assert found["all"]["gflop"] == 3 * 2 * 64 * 32 * 32 / 1e9
