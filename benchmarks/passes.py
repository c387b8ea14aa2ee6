"""The passes over memory that the definition of a method asks for beside its products, each timed alone.

Norms, softmax, enlarging masks, sampling of deformable attention: the operations of one prediction are kept
with their operands and run again, each by itself, operands in the cache as far as they fit. Activations,
sums and copies are left out, since they can be joined to what comes before them. That is no strict floor as
the products' is: another implementation of a pass may be faster than torch's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timing import fastest_seconds
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

KINDS = (
    aten.native_layer_norm,
    aten._softmax,
    aten.upsample_bilinear2d,
    aten._embedding_bag,
    aten._embedding_bag_forward_only,
)


@dataclass
class Pass:
    """One operation on operands of one shape.

    Attributes:
        run: does it again.
        count: how often it is done.
    """

    run: Callable[[], object]
    count: int = 0


Passes = dict[object, Pass]
"""By operation and shapes."""


def record_passes(work: Callable[[], object]) -> Passes:
    """The passes of one run of `work`."""
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        work()
    return recorder.found


@torch.no_grad()
def passes_seconds(passes: Passes, clock: Callable[[], float]) -> float:
    """Of all of them, each in the fastest of several runs."""
    return sum(one.count * fastest_seconds(one.run, clock) for one in passes.values())


class _Recorder(TorchDispatchMode):
    """Keeps passes as they are done."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Passes = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func.overloadpacket in KINDS:
            key = (func, *map(_shape, args), *((name, _shape(value)) for name, value in named.items()))
            self.found.setdefault(key, Pass(lambda: func(*args, **named))).count += 1
        return func(*args, **named)


def _shape(argument: object) -> object:
    if isinstance(argument, Tensor):
        return tuple(argument.shape), tuple(argument.stride()), argument.dtype
    return tuple(argument) if isinstance(argument, list) else argument
