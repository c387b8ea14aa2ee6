"""Which number format a permission becomes."""

import logging

import pytest
import torch

from ovseg.errors import ConfigError
from ovseg.models.common import precision
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
    """fp32 is measured first, then bf16; the measurement is made once per number of threads."""
    seconds = iter([6.0, 2.0])
    monkeypatch.setattr(precision, "best_of", lambda work, repeats: next(seconds))
    bf16_gain.cache_clear()
    try:
        assert bf16_gain(1) == 3.0
        assert bf16_gain(1) == 3.0
    finally:
        bf16_gain.cache_clear()


def test_the_gain_is_measured_here() -> None:
    assert 0 < bf16_gain(torch.get_num_threads()) < 100
