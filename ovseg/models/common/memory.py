"""Memory back to the system: freed blocks, and files that weights were read from."""

import ctypes
import functools
import sys
from collections.abc import Callable

import torch
from torch import nn


def release_freed_memory() -> None:
    """Give back what the C library keeps of freed memory, where it can be asked to (glibc), else nothing.

    The tensors of one picture leave holes of many sizes, which the library keeps; those of the next picture
    do not all fit into them. On a large model that was seen to cost a tenth of a gigabyte.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@torch.no_grad()
def leave_file(module: nn.Module) -> None:
    """Copy the weights that still lie in a mapped file, so that the file's pages can go.

    A file stays mapped, with all pages that were ever read, while one tensor lies in it. When most of a model
    is converted to a smaller number format, the originals would go on taking room beside the copies.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()


@functools.cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
