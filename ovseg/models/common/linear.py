"""Linear layers and two-layer perceptrons at the speed that the processor has.

Two things cost time on a CPU beside the arithmetic itself. Which library multiplies: `F.linear` goes to MKL
in float32, which some processors run at half of oneDNN's rate, others at the same. And the hidden layer of a
perceptron, which is written to memory, read for its activation, written and read again. So the library is
chosen by a short measurement, and perceptrons run in slices of rows whose hidden layer stays in the cache.

With gradients, under autocast, or on another device, everything here is plain PyTorch.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Activation = Literal["none", "relu", "gelu", "quick_gelu"]
Backend = Literal["plain", "onednn"]

HIDDEN_BYTES = 16 << 20
SLICE_ROWS = 1024
"""A slice has at most so many rows as fill those bytes of hidden layer, or `SLICE_ROWS` if that is more.

Smaller slices stay nearer to the core but multiply more slowly, larger ones the other way round; these were
the fastest for the four widths of a ConvNeXt-L with either library.
"""

ROWS_TO_PACK = 512
"""Rows from which on putting the weight into oneDNN's order costs little beside the product itself.

The packed copy lives for one call only: keeping it would be faster by some hundredths and would hold every
weight in memory twice.
"""

GAIN_TO_PACK = 1.05
"""How much faster oneDNN must be in the measurement, whose noise is some hundredths."""

ROUNDS = 4
"""Of the measurement: a run of each backend, one or two tenths of a second long; the first warms up."""

_forced: ContextVar[Backend | None] = ContextVar("ovseg_linear_backend", default=None)


def linear(
    x: Float[Tensor, "*n i"],
    weight: Float[Tensor, "o i"],
    bias: Float[Tensor, " o"] | None = None,
    activation: Activation = "none",
) -> Float[Tensor, "*n o"]:
    """``activation(x @ weight.T + bias)``."""
    return prepared(weight, bias, activation, rows=_rows(x))(x)


def mlp(
    x: Float[Tensor, "*n i"],
    first: tuple[Float[Tensor, "h i"], Float[Tensor, " h"] | None],
    second: tuple[Float[Tensor, "o h"], Float[Tensor, " o"] | None],
    activation: Activation,
) -> Float[Tensor, "*n o"]:
    """Two linear layers with an activation between; `first` and `second` are (weight, bias)."""
    up = prepared(*first, activation, rows=_rows(x))
    down = prepared(*second, "none", rows=_rows(x))
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return down(up(x))
    rows = x.reshape(-1, x.shape[-1])
    out = rows.new_empty(rows.shape[0], down.outputs)
    for part in row_slices(rows, up):
        out[part] = down(up(rows[part]))
    return out.reshape(*x.shape[:-1], out.shape[-1])


@dataclass(frozen=True)
class PreparedLinear:
    """A linear layer and its activation, for an input that comes piece by piece.

    Attributes:
        apply: the layer as a function of rows.
        outputs: its channels.
        dtype: number format of its product.
    """

    apply: Callable[[Tensor], Tensor]
    outputs: int
    dtype: torch.dtype

    def __call__(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        """``activation(x @ weight.T + bias)``."""
        return self.apply(x)


def row_slices(rows: Float[Tensor, "n i"], layer: PreparedLinear) -> Iterator[slice]:
    """Ranges that cover the rows, as long as is fast for what `layer` makes of them; one on a GPU.

    They are of even length: a few rows left over would fetch the whole weight for next to nothing.
    """
    count = len(rows)
    longest = max(SLICE_ROWS, HIDDEN_BYTES // (layer.dtype.itemsize * layer.outputs))
    slices = math.ceil(count / longest) if rows.device.type == "cpu" else 1
    length = math.ceil(count / max(1, slices))
    for start in range(0, count, max(1, length)):
        yield slice(start, start + length)


@contextmanager
def linear_backend(backend: Backend | None) -> Iterator[None]:
    """Force a backend inside the context; None measures as usual."""
    token = _forced.set(backend)
    try:
        yield
    finally:
        _forced.reset(token)


def untimed_backend() -> Backend:
    """A backend that is the same in every process on a machine, for runs that are resumed or shared out.

    The two round differently, and timing them now and then chooses the other one.
    """
    return "onednn" if torch.backends.mkldnn.is_available() else "plain"


def chosen_backend(dtype: torch.dtype) -> Backend:
    """The backend in force for a number format on this processor.

    For float32 it is measured at first use. bf16 goes to oneDNN, which rounds after an activation only.
    """
    forced = _forced.get()
    if forced is not None:
        return forced
    if dtype == torch.bfloat16:
        return "onednn" if torch.backends.mkldnn.is_available() else "plain"
    return _fastest(dtype, torch.get_num_threads())


def _rows(x: Float[Tensor, "*n i"]) -> int:
    return x.numel() // max(1, x.shape[-1])


def prepared(
    weight: Float[Tensor, "o i"],
    bias: Float[Tensor, " o"] | None,
    activation: Activation = "none",
    *,
    rows: int,
) -> PreparedLinear:
    """The layer with its weight packed once, if that serves so many rows of inputs.

    Args:
        weight: which has the inputs' device and number format.
        bias: added before the activation.
        activation: after the product.
        rows: of all inputs together.
    """
    return PreparedLinear(_applied(weight, bias, activation, rows), len(weight), weight.dtype)


def _applied(
    weight: Tensor, bias: Tensor | None, activation: Activation, rows: int
) -> Callable[[Tensor], Tensor]:
    if _is_plain(weight, rows):
        return lambda x: _activate(F.linear(x, weight, bias), activation)
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
    fused = activation if activation in ("relu", "gelu") else "none"

    def onednn(x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        # oneDNN's erf GELU is called "none" there: the word names the approximation.
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, fused, [], "none")
        return y if fused == activation else _activate(y, activation)

    return onednn


def _is_plain(weight: Float[Tensor, "o i"], rows: int) -> bool:
    if weight.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return True
    if weight.dtype == torch.float32:
        return rows < ROWS_TO_PACK or chosen_backend(weight.dtype) == "plain"
    return weight.dtype != torch.bfloat16 or chosen_backend(weight.dtype) == "plain"


def _activate(y: Float[Tensor, "*n o"], activation: Activation) -> Float[Tensor, "*n o"]:
    """In place where no gradient needs the values before."""
    in_place = not y.requires_grad
    match activation:
        case "relu":
            return y.relu_() if in_place else y.relu()
        case "gelu":
            return torch.ops.aten.gelu_(y) if in_place else F.gelu(y)
        case "quick_gelu":
            gate = (1.702 * y).sigmoid_()
            return y.mul_(gate) if in_place else y * gate
        case _:
            return y


@functools.cache
def _fastest(dtype: torch.dtype, threads: int) -> Backend:
    """Time one perceptron of a ConvNeXt-L's longest stage with each backend; `threads` only keys the memory.

    Packing the weights is part of it. In smaller perceptrons and shorter inputs the libraries differ less
    than in what large pictures need, and the choice would be left to chance.

    The backends take turns and the fastest run of each counts, because a shared machine changes its speed
    while it is measured, and what disturbs a run only ever makes it longer.
    """
    if not torch.backends.mkldnn.is_available():
        return "plain"
    x, w1, w2 = (torch.ones(size, dtype=dtype) for size in ((2048, 768), (3072, 768), (768, 3072)))

    def seconds(backend: Backend) -> float:
        with linear_backend(backend), torch.no_grad():
            return seconds_of(lambda: mlp(x, (w1, None), (w2, None), "gelu"))

    rounds = [(seconds("plain"), seconds("onednn")) for _ in range(ROUNDS)]
    plain, onednn = (min(runs) for runs in zip(*rounds, strict=True))
    return "onednn" if plain > GAIN_TO_PACK * onednn else "plain"


def best_of(work: Callable[[], object], *, repeats: int) -> float:
    """Seconds of the fastest of several runs, after one that is not counted."""
    work()
    return min(seconds_of(work) for _ in range(repeats))


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
