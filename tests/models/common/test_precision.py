"""Which number format a permission becomes."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.models.common import precision
from ovseg.models.common.linear import linear_backend
from ovseg.models.common.precision import bf16_gain, compute_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def faster_by(gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_gain", lambda threads: gain)


def test_fp32_is_fp32_everywhere() -> None:
    assert compute_dtype(CPU, "fp32") is torch.float32
    assert compute_dtype(GPU, "fp32") is torch.float32


def test_a_gpu_does_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    faster_by(0.1, monkeypatch)
    assert compute_dtype(GPU, "fp16") is torch.float16
    assert compute_dtype(GPU, "bf16") is torch.bfloat16


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ConfigError) as error:
        compute_dtype(CPU, "fp16")
    assert str(error.value) == "fp16 runs on GPUs only. On a CPU say runtime.precision=bf16 or fp32."


def test_bf16_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    faster_by(1.7, monkeypatch)
    assert compute_dtype(CPU, "bf16") is torch.bfloat16
    assert not caplog.records


def test_bf16_must_be_worth_its_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    faster_by(1.2, monkeypatch)
    assert compute_dtype(CPU, "bf16") is torch.float32


def test_fp32_where_bf16_is_slower(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    faster_by(0.25, monkeypatch)
    with caplog.at_level(logging.WARNING, "ovseg"):
        assert compute_dtype(CPU, "bf16") is torch.float32
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "runtime.precision=bf16: this processor multiplies bf16 at 0.25 times the rate of fp32; fp32 is used."
    )


def test_the_gain_is_a_ratio_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 is measured first, then bf16; both once per number of threads."""
    seconds = {torch.float32: 6.0, torch.bfloat16: 2.0}
    runs: list[torch.dtype] = []

    def timed(work: Callable[[], Tensor], repeats: int) -> float:
        runs.append(work().dtype)
        return seconds[runs[-1]]

    monkeypatch.setattr(precision, "best_of", timed)
    bf16_gain.cache_clear()
    try:
        with linear_backend("plain"):
            assert bf16_gain(1) == 3.0
            assert bf16_gain(1) == 3.0
    finally:
        bf16_gain.cache_clear()
    assert runs == [torch.float32, torch.bfloat16]
