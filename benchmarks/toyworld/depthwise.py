"""Depthwise 7 x 7 convolutions whose weights' gradient does not take most of a training's time.

PyTorch on a CPU spends ten times as long on it as on the convolution itself. Where a C++ compiler is found,
depthwise.cpp is compiled once and used; elsewhere, on a GPU and in float32, everything is PyTorch's own.
"""

import ctypes
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOURCE = Path(__file__).with_suffix(".cpp")
FOLDER = Path("runs/toyworld")


class Depthwise(nn.Conv2d):
    """`nn.Conv2d` of 7 x 7 weights for each channel, the same but for speed under bfloat16 autocast."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or _library() is None:
            return super().forward(input)
        return _Convolution.apply(input.bfloat16(), self.weight, self.bias)


def speed_up(module: nn.Module) -> None:
    """Make the depthwise 7 x 7 convolutions of a model `Depthwise`, in place; parameters stay."""
    for part in module.modules():
        if type(part) is nn.Conv2d and part.kernel_size == (7, 7) and part.groups == part.in_channels:
            part.__class__ = Depthwise


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        half = weight.bfloat16()
        ctx.save_for_backward(x, half)
        return F.conv2d(x, half, bias.bfloat16(), padding=3, groups=len(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradient.bfloat16().contiguous(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        n = len(weight)
        to_input, _, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [1, 1], [3, 3], [1, 1], False, [0, 0], n, [True, False, False]
        )
        to_weight = torch.zeros(n, 1, 7, 7)
        b, _, h, w = x.shape
        _library().depthwise_weight_gradient(
            *(ctypes.c_void_p(part.data_ptr()) for part in (x, gradient, to_weight)), b, h, w, n
        )
        return to_input, to_weight, gradient.sum((0, 2, 3), dtype=torch.float32)


@cache
def _library() -> ctypes.CDLL | None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    out = FOLDER / "depthwise.so"
    if not out.exists() or out.stat().st_mtime < SOURCE.stat().st_mtime:
        made = out.with_suffix(f".{os.getpid()}")
        options = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")
        command = [compiler, *options, str(SOURCE), "-o", str(made)]
        if subprocess.run(command, check=False).returncode:
            return None
        os.replace(made, out)
    return ctypes.CDLL(str(out.resolve()))
