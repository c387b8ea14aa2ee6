"""Freed memory back to the system."""

import ctypes
import functools
import sys
from collections.abc import Callable


def release_freed_memory() -> None:
    """Give back what the C library keeps of freed memory, where it can be asked to (glibc), else nothing.

    The tensors of one picture leave holes of many sizes, which the library keeps; those of the next picture
    do not all fit into them. On a large model that was seen to cost a tenth of a gigabyte.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
