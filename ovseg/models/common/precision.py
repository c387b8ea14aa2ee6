"""Which number format a device computes heavy parts in."""

import functools
import logging

import torch

from ovseg.errors import ConfigError
from ovseg.interfaces import Precision
from ovseg.models.common.linear import best_of, mlp

logger = logging.getLogger(__name__)

WORTHWHILE_GAIN = 1.25
"""bf16 must multiply this much faster than fp32: it also converts more, and a measurement has its noise."""


def compute_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The number format for a precision that was asked for.

    A precision is a permission, not an order: a processor that multiplies bf16 hardly faster than fp32, or
    more slowly (found by a short measurement), keeps fp32, which is more exact. A line in the log says so.

    Raises:
        ConfigError: fp16 on a CPU, which has no kernels for it.
    """
    if precision == "fp32":
        return torch.float32
    if device.type != "cpu":
        return torch.float16 if precision == "fp16" else torch.bfloat16
    if precision == "fp16":
        raise ConfigError("fp16 runs on GPUs only. On a CPU say runtime.precision=bf16 or fp32.")
    gain = bf16_gain(torch.get_num_threads())
    if gain >= WORTHWHILE_GAIN:
        return torch.bfloat16
    logger.warning(
        "runtime.precision=bf16: this processor multiplies bf16 at %.2f times the rate of fp32; "
        "fp32 is used.",
        gain,
    )
    return torch.float32


@functools.cache
def bf16_gain(threads: int) -> float:
    """Rate of a ConvNeXt-L's perceptron in bf16 over its rate in fp32 on this processor.

    Args:
        threads: `torch.get_num_threads()`, which the measurement depends on.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, w1, w2 = (torch.ones(size, dtype=dtype) for size in ((4096, 384), (1536, 384), (384, 1536)))
        with torch.no_grad():
            seconds[dtype] = best_of(lambda: mlp(x, (w1, None), (w2, None), "gelu"), repeats=5)  # noqa: B023 (called at once)
    return seconds[torch.float32] / seconds[torch.bfloat16]
