"""Linear layers and two-layer perceptrons at the speed that the processor has.

Two things cost time on a CPU beside the arithmetic itself. Which library multiplies: `F.linear` goes to MKL
in float32, which some processors run at half of oneDNN's rate, others at the same. And the hidden layer of a
perceptron, which is written to memory, read for its activation, written and read again. So the library is
chosen by a short measurement, and perceptrons run in slices of rows whose hidden layer stays in the cache.

With gradients, or on another device, everything here is plain PyTorch.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

Activation = Literal["none", "relu", "gelu", "quick_gelu"]
Backend = Literal["plain", "onednn"]

HIDDEN_BYTES = 2 << 20
"""Hidden-layer bytes of one slice of rows: about the second-level cache of a core."""

PACKING_GAIN = 1.15
"""oneDNN must be this much faster before it is worth a second, packed copy of the weights."""

_forced: ContextVar[Backend | None] = ContextVar("ovseg_linear_backend", default=None)
_packed: "WeakIdKeyDictionary" = WeakIdKeyDictionary()


def linear(
    x: Float[Tensor, "*n i"],
    weight: Float[Tensor, "o i"],
    bias: Float[Tensor, " o"] | None = None,
    activation: Activation = "none",
) -> Float[Tensor, "*n o"]:
    """``activation(x @ weight.T + bias)``."""
    if _is_plain(x, weight):
        y = F.linear(x, weight, bias)
        return _activate(y, activation, in_place=not y.requires_grad)
    return _onednn(x, weight, bias, activation)


def mlp(
    x: Float[Tensor, "*n i"],
    first: tuple[Float[Tensor, "h i"], Float[Tensor, " h"] | None],
    second: tuple[Float[Tensor, "o h"], Float[Tensor, " o"] | None],
    activation: Activation,
) -> Float[Tensor, "*n o"]:
    """Two linear layers with an activation between; `first` and `second` are (weight, bias)."""
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return linear(linear(x, *first, activation), *second)
    rows = x.reshape(-1, x.shape[-1])
    step = max(64, HIDDEN_BYTES // (x.element_size() * first[0].shape[0]))
    out = rows.new_empty(rows.shape[0], second[0].shape[0])
    for start in range(0, rows.shape[0], step):
        hidden = linear(rows[start : start + step], *first, activation)
        out[start : start + step] = linear(hidden, *second)
    return out.reshape(*x.shape[:-1], out.shape[-1])


@contextmanager
def linear_backend(backend: Backend | None) -> Iterator[None]:
    """Force a backend inside the context; None measures as usual."""
    token = _forced.set(backend)
    try:
        yield
    finally:
        _forced.reset(token)


def chosen_backend(dtype: torch.dtype) -> Backend:
    """The backend in force for a number format on this processor, measured at first use."""
    return _forced.get() or _fastest(dtype, torch.get_num_threads())


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return True
    if x.dtype not in (torch.float32, torch.bfloat16) or weight.numel() < 1 << 14:
        return True
    return chosen_backend(x.dtype) == "plain"


def _activate(y: Tensor, activation: Activation, *, in_place: bool) -> Tensor:
    match activation:
        case "relu":
            return y.relu_() if in_place else y.relu()
        case "gelu":
            return torch.ops.aten.gelu_(y) if in_place else F.gelu(y)
        case "quick_gelu":
            return y * torch.sigmoid(1.702 * y)
        case _:
            return y


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    packed = _pack(weight)
    fused = activation if activation in ("relu", "gelu") else "none"
    # oneDNN's erf GELU is called "none" there: the word names the approximation.
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, fused, [], "none")
    return y if fused == activation else _activate(y, activation, in_place=True)


def _pack(weight: Tensor) -> Tensor:
    """The weight in oneDNN's blocked layout; made once per weight and again when the weight has changed."""
    known: tuple[int, Tensor] | None = _packed.get(weight)
    if known is not None and known[0] == weight._version:
        return known[1]
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
    _packed[weight] = (weight._version, packed)
    return packed


def release(weights: Iterable[Tensor]) -> None:
    """Give back the packed copies of weights that will not be used for a while."""
    for weight in weights:
        _packed.pop(weight, None)


@functools.cache
def _fastest(dtype: torch.dtype, threads: int) -> Backend:
    """Time one perceptron of a ConvNeXt-L's size with each backend; `threads` only keys the memory."""
    if not torch.backends.mkldnn.is_available():
        return "plain"
    x, w1, w2 = (torch.ones(size, dtype=dtype) for size in ((1024, 384), (1536, 384), (384, 1536)))
    seconds = {}
    backends: tuple[Backend, ...] = ("plain", "onednn")
    for backend in backends:
        with linear_backend(backend), torch.no_grad():
            seconds[backend] = best_of(lambda: mlp(x, (w1, None), (w2, None), "gelu"), repeats=5)
    return "onednn" if seconds["plain"] > PACKING_GAIN * seconds["onednn"] else "plain"


def best_of(work: Callable[[], object], *, repeats: int) -> float:
    """Seconds of the fastest of several runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
