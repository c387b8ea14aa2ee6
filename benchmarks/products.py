"""The products of one prediction, each timed alone at its own size: what no prediction can be faster than.

One large matrix product runs at a processor's best rate; a product with few rows, a short sum or a
convolution does not. So the products that a prediction really makes are recorded (size, number format, how
often), each is timed alone in every way that torch has here, its operands in the cache as far as they fit
and its weights already packed, and the fastest way counts. Everything between the products is free: norms,
activations, softmax, residual sums, sampling, copies. A prediction of the same products is not faster than
their sum on the same processor.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from passes import Passes, passes_seconds
from timing import fastest_seconds
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ovseg.models.common.linear import linear_backend

aten = torch.ops.aten

MANY_ROWS = 4096
"""A product with fewer rows is also timed with so many, by the row: slices of a layer could be larger."""
MOST_VALUES = 1 << 25
"""Of a matrix that is made for that."""
LEAST_SHARE = 2e-4
"""Of all operations: smaller products count as free, which is some tenths of a per cent in all."""


@dataclass(frozen=True)
class Product:
    """One size of matrix product, attention or convolution.

    Attributes:
        kind: "matrix" (sizes: batch, rows, summed, columns), "attention" (batch and heads together, queries,
            keys, channels of a head) or "convolution" (see `convolution`).
        dtype: number format of the operands.
        sizes: as `kind` says.
        convolution: shape of input and weight, stride, padding, dilation, groups; empty for the others.
    """

    kind: str
    dtype: torch.dtype
    sizes: tuple[int, ...] = ()
    convolution: tuple[Any, ...] = ()


Products = Mapping[Product, int]
"""How often each is made."""
Way = tuple[float, Callable[[], object]]
"""How many runs of this are one product, and a run."""
Plan = list[tuple[Product, int]]
"""Products to make one after another, each in which of its ways."""
Clock = Callable[[], float]
"""Seconds from a start that does not matter."""


class ProductsFloor(TypedDict):
    """Medians over the rounds.

    Attributes:
        seconds: of all products, each in its fastest way; processor time adds up the threads' seconds.
        ratio: to the reference's seconds, round by round.
        gflop: multiplications and additions of these products.
        gflops: their rate.
        passes_seconds: of what is in `passes`.
        ratio_with_passes: of products and passes together.
    """

    seconds: float
    ratio: float
    gflop: float
    gflops: float
    passes_seconds: float
    ratio_with_passes: float


def record(work: Callable[[], object]) -> Products:
    """The products of one run of `work`, with the plain linear layers that torch shows."""
    recorder = _Recorder()
    with torch.no_grad(), linear_backend("plain"), recorder:
        work()
    least = LEAST_SHARE * _gflop(recorder.found)
    return {
        product: count
        for product, count in recorder.found.items()
        if count * _operations(product) / 1e9 >= least
    }


def in_format(products: Products, dtype: torch.dtype) -> Products:
    """All of them in one number format."""
    changed: Counter[Product] = Counter()
    for product, count in products.items():
        changed[replace(product, dtype=dtype)] += count
    return changed


@torch.no_grad()
def floors(
    programs: Mapping[str, Products],
    passes: Mapping[str, Passes],
    reference: Callable[[], object],
    *,
    rounds: int,
    clock: Clock,
) -> dict[str, ProductsFloor]:
    """Time the products and passes of several programs in turns with what they are divided by.

    The fastest way of each product is found in a round that is not counted. With `time.process_time` for a
    clock, what other processes do on the machine counts little; waiting threads must sleep then, which
    ``OMP_WAIT_POLICY=passive`` in the environment makes them do.
    """
    distinct = {product for products in programs.values() for product in products}
    plans = {product: _fastest(product, clock) for product in distinct}
    reference()
    sums: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        start = clock()
        reference()
        theirs = clock() - start
        seconds = {product: _planned(plan, clock) for product, plan in plans.items()}
        for name, products in programs.items():
            total = sum(count * seconds[product] for product, count in products.items())
            sums[name].append((total, passes_seconds(passes[name], clock), theirs))
    return {name: _summary(products, sums[name]) for name, products in programs.items()}


def _summary(products: Products, sums: Sequence[tuple[float, float, float]]) -> ProductsFloor:
    """Of (products', passes' and the reference's seconds) in each round."""
    seconds = statistics.median(ours for ours, _, _ in sums)
    gflop = _gflop(products)
    return ProductsFloor(
        seconds=seconds,
        ratio=statistics.median(ours / theirs for ours, _, theirs in sums),
        gflop=gflop,
        gflops=gflop / seconds,
        passes_seconds=statistics.median(others for _, others, _ in sums),
        ratio_with_passes=statistics.median((ours + others) / theirs for ours, others, theirs in sums),
    )


class _Recorder(TorchDispatchMode):
    """Counts products as they are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        product = _product(func.overloadpacket, args)
        if product is not None:
            self.found[product] += 1
        return func(*args, **(kwargs or {}))


def _product(operation: Any, args: tuple[Any, ...]) -> Product | None:
    if operation in (aten.mm, aten.bmm, aten.mv):
        return _matrix(args[0], args[1])
    if operation in (aten.addmm, aten.baddbmm, aten.addmv):
        return _matrix(args[1], args[2])
    if operation is aten._scaled_dot_product_flash_attention_for_cpu:
        query, key = args[:2]
        batch, heads, queries, channels = query.shape
        return Product("attention", query.dtype, (batch * heads, queries, key.shape[2], channels))
    if operation is aten.convolution:
        x, weight, _, stride, padding, dilation, transposed, _, groups = args
        if transposed:
            raise NotImplementedError("Transposed convolutions are not timed.")
        sizes = (tuple(x.shape), tuple(weight.shape), *map(tuple, (stride, padding, dilation)), groups)
        return Product("convolution", x.dtype, convolution=sizes)
    return None


def _matrix(x: Tensor, y: Tensor) -> Product:
    columns = 1 if y.dim() == 1 else y.shape[-1]
    return Product("matrix", x.dtype, (x.shape[:-2].numel(), x.shape[-2], x.shape[-1], columns))


def _operations(product: Product) -> float:
    """Multiplications and additions."""
    if product.kind == "attention":
        batch, queries, keys, channels = product.sizes
        return 4.0 * batch * queries * keys * channels
    if product.kind == "convolution":
        return 2.0 * _output(product).numel() * torch.Size(product.convolution[1][1:]).numel()
    batch, rows, summed, columns = product.sizes
    return 2.0 * batch * rows * summed * columns


def _gflop(products: Products) -> float:
    return sum(count * _operations(product) for product, count in products.items()) / 1e9


def _output(product: Product) -> torch.Size:
    """Shape of a convolution's result."""
    x, weight, stride, padding, dilation, groups = product.convolution
    with torch.device("meta"):
        return F.conv2d(torch.empty(x), torch.empty(weight), None, stride, padding, dilation, groups).shape


def _fastest(product: Product, clock: Clock) -> Plan:
    """How a product is made fastest."""
    seconds = [_seconds(way, clock) for way in _ways(product)]
    best = min(seconds)
    if product.kind == "attention":
        batch, queries, keys, channels = product.sizes
        parts = (
            Product("matrix", product.dtype, (batch, queries, channels, keys)),
            Product("matrix", product.dtype, (batch, queries, keys, channels)),
        )
        plan = [step for part in parts for step in _fastest(part, clock)]
        if _planned(plan, clock) < best:
            return plan
    return [(product, seconds.index(best))]


def _planned(plan: Plan, clock: Clock) -> float:
    return sum(_seconds(_ways(product)[way], clock) for product, way in plan)


def _seconds(way: Way, clock: Clock) -> float:
    """Of one product this way: the fastest of several runs after one that is not counted."""
    runs, work = way
    return runs * fastest_seconds(work, clock)


def _ways(product: Product) -> list[Way]:
    """Always the same ones in the same order for a product."""
    if product.kind == "attention":
        return _attention_ways(product)
    if product.kind == "convolution":
        return _convolution_ways(product)
    batch, rows, summed, columns = product.sizes
    return _matrix_ways(product.dtype, batch, rows, summed, columns)


def _matrix_ways(dtype: torch.dtype, batch: int, rows: int, summed: int, columns: int) -> list[Way]:
    ways: list[Way] = []
    if batch > 1:
        x, y = torch.ones(batch, rows, summed, dtype=dtype), torch.ones(batch, columns, summed, dtype=dtype)
        out = x.new_empty(batch, rows, columns)
        ways.append((1, lambda: torch.bmm(x, y.mT, out=out)))
    counts = {rows}
    if rows < MANY_ROWS and MANY_ROWS * max(summed, columns) <= MOST_VALUES:
        counts.add(MANY_ROWS)
    for count in sorted(counts):
        runs = batch * rows / count
        ways += [(runs, run) for run in _libraries(dtype, count, summed, columns)]
    return ways


def _libraries(dtype: torch.dtype, rows: int, summed: int, columns: int) -> Iterator[Callable[[], object]]:
    """One matrix product through torch's usual library and through oneDNN with a packed weight."""
    x, weight = torch.ones(rows, summed, dtype=dtype), torch.ones(columns, summed, dtype=dtype)
    out = x.new_empty(rows, columns)
    yield lambda: torch.mm(x, weight.T, out=out)
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        yield lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "none")


def _attention_ways(product: Product) -> list[Way]:
    """The fused kernel; its two products alone, without the softmax between, are in `_fastest`."""
    batch, queries, keys, channels = product.sizes
    q, k, v = (
        torch.ones(1, batch, length, channels, dtype=product.dtype) for length in (queries, keys, keys)
    )
    return [(1, lambda: F.scaled_dot_product_attention(q, k, v))]


def _convolution_ways(product: Product) -> list[Way]:
    """Torch's convolution in both memory orders, oneDNN's with a packed weight, and its product alone."""
    shape, kernel, stride, padding, dilation, groups = product.convolution
    x, weight = torch.ones(shape, dtype=product.dtype), torch.ones(kernel, dtype=product.dtype)
    settings = (stride, padding, dilation, groups)
    ways: list[Way] = [
        (1, _convolving(x.contiguous(memory_format=order), weight.to(memory_format=order), settings))
        for order in (torch.contiguous_format, torch.channels_last)
    ]
    if torch.backends.mkldnn.is_available():
        last = x.contiguous(memory_format=torch.channels_last)
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
            weight.to_mkldnn(), padding, stride, dilation, groups, list(shape)
        )
        fused = torch.ops.mkldnn._convolution_pointwise
        ways.append((1, lambda: fused(last, packed, None, padding, stride, dilation, groups, "none", [], "")))
    if groups == 1:
        out = _output(product)
        rows, summed = out.numel() // kernel[0], torch.Size(kernel[1:]).numel()
        if rows * max(summed, kernel[0]) <= 4 * MOST_VALUES:
            ways += _matrix_ways(product.dtype, 1, rows, summed, kernel[0])
    return ways


def _convolving(x: Tensor, weight: Tensor, settings: tuple[Any, ...]) -> Callable[[], object]:
    return lambda: F.conv2d(x, weight, None, *settings)
