"""Logits per synonym on a coarse grid to class probabilities per pixel, in strips.

Probabilities of all classes at the size of a picture are gigabytes for large vocabularies. What is kept is
the best class of each pixel and the sum that its softmax divides by, from which the probabilities of any one
class can be made again.

Letters: s synonyms, k classes, h w the grid of the logits, Y X the picture, y x a coarser grid.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovseg.models.common.resample import axis_map

STRIP_VALUES = 1 << 21
"""Values (synonyms x pixels) of one strip, eight megabytes."""


@dataclass(frozen=True)
class PixelScores:
    """Which class each pixel is, and how probable each class is there.

    Attributes:
        logits: per synonym, on a grid that covers the picture, or at every pixel.
        class_of_row: class of each synonym, ascending.
        scale: factor on the logits before the softmax over synonyms.
        labels: the class of the highest probability, the lower one where two are equal.
        probabilities: of those classes.
        log_total: logarithm of the softmax's denominator.
        coarser_best: the highest class probability on a coarser grid, to which those of each class were
            resized; None if not asked for.
    """

    logits: Float[Tensor, "s h w"]
    class_of_row: Int[Tensor, " s"]
    scale: float
    labels: Int[Tensor, "Y X"]
    probabilities: Float[Tensor, "Y X"]
    log_total: Float[Tensor, "Y X"]
    coarser_best: Float[Tensor, "y x"] | None

    def of_class(self, label: int) -> Float[Tensor, "Y X"]:
        """The probability of one class at every pixel: that of its most probable synonym."""
        rows = self.logits[self.class_of_row == label]
        scaled = enlarge(rows, self.labels.shape).mul_(self.scale)
        return scaled.amax(0).sub_(self.log_total).exp_()


def score_pixels(
    logits: Float[Tensor, "s h w"],
    class_of_row: Int[Tensor, " s"],
    size: tuple[int, int],
    *,
    scale: float,
    coarser: tuple[int, int] | None = None,
) -> PixelScores:
    """Enlarge bilinearly, then softmax over the synonyms, then the best synonym of each class.

    The order is Trident's (`trident.py`, `predict` and `postprocess_result`): the synonyms of a class compete
    with each other too, and the probabilities of the classes need not add up to 1.

    Args:
        logits: per synonym.
        class_of_row: class of each synonym, ascending from 0 without gaps.
        size: (height, width) of the picture.
        scale: factor on the logits before the softmax.
        coarser: (height, width) at which `PixelScores.coarser_best` is asked for, not above `size`.
    """
    strips = _Strips(logits, size)
    found = PixelScores(
        logits=logits,
        class_of_row=class_of_row,
        scale=scale,
        labels=torch.empty(size, dtype=torch.int32, device=logits.device),
        probabilities=logits.new_empty(size),
        log_total=logits.new_empty(size),
        coarser_best=None if coarser is None else logits.new_empty(coarser),
    )
    counts: list[int] = class_of_row.bincount().tolist()
    lower = None if coarser is None else _Sampled(size[0], coarser[0])
    for span, outputs in _spans(size, len(logits), lower):
        likely, log_total = _softmax(strips.rows(span).mul_(scale))
        likely = join_synonyms(likely, counts)
        best = likely.max(0)
        found.labels[span], found.probabilities[span] = best.indices.to(torch.int32), best.values
        found.log_total[span] = log_total
        if lower is not None and found.coarser_best is not None:
            for row in range(outputs.start, outputs.stop):
                between = lower.row(likely, row, start=span.start)
                shorter = F.interpolate(between[None], size=found.coarser_best.shape[1], mode="linear")[0]
                found.coarser_best[row] = shorter.amax(0)
    return found


def enlarge(maps: Float[Tensor, "s h w"], size: tuple[int, ...]) -> Float[Tensor, "s Y X"]:
    """Bilinear resizing of maps that cover a picture; always a new tensor."""
    if tuple(maps.shape[1:]) == tuple(size):
        return maps.clone()
    return F.interpolate(maps[None], size=tuple(size), mode="bilinear")[0]


def join_synonyms(likely: Float[Tensor, "s y x"], counts: list[int]) -> Float[Tensor, "k y x"]:
    """The largest value among the synonyms of each class; `counts` synonyms belong to each."""
    if len(likely) == len(counts):
        return likely
    return torch.stack([part.amax(0) for part in likely.split(counts)])


def _softmax(logits: Float[Tensor, "s y x"]) -> tuple[Float[Tensor, "s y x"], Float[Tensor, "y x"]]:
    """Over synonyms, in place, and the logarithm of its denominator."""
    largest = logits.amax(0)
    total = logits.sub_(largest).exp_().sum(0)
    return logits.div_(total), largest + total.log()


def _spans(size: tuple[int, int], depth: int, lower: "_Sampled | None") -> list[tuple[slice, slice]]:
    """Strips of rows, and the rows of the coarser grid that each can make; neighbours may share a row."""
    step = max(2, STRIP_VALUES // (depth * size[1]))
    if lower is None:
        return [(slice(top, min(top + step, size[0])), slice(0, 0)) for top in range(0, size[0], step)]
    spans = []
    count, step = len(lower.low), max(1, step * len(lower.low) // size[0])
    for first in range(0, count, step):
        last = min(first + step, count)
        top = lower.low[first] if first else 0
        bottom = size[0] if last == count else max(lower.high[last - 1] + 1, lower.low[last])
        spans.append((slice(top, bottom), slice(first, last)))
    return spans


class _Strips:
    """Rows of the enlarged logits, from top to bottom.

    A row of the grid is enlarged along the picture's width once, for all the rows of the picture near it.
    """

    def __init__(self, logits: Float[Tensor, "s h w"], size: tuple[int, int]) -> None:
        height, width = logits.shape[1:]
        self._logits = logits
        self._whole = (height, width) == size
        self._sampled = _Sampled(height, size[0])
        self._columns = axis_map(width, size[1], device=logits.device).matrix.T
        self._wide: dict[int, Tensor] = {}

    def rows(self, span: slice) -> Float[Tensor, "s y X"]:
        """A new tensor."""
        if self._whole:
            return self._logits[:, span].clone()
        needed = range(self._sampled.low[span.start], self._sampled.high[span.stop - 1] + 1)
        self._wide = {row: self._wide_row(row) for row in needed}
        wide = torch.stack(list(self._wide.values()), dim=1)
        rows = range(span.start, span.stop)
        return torch.stack([self._sampled.row(wide, row, start=needed.start) for row in rows], dim=1)

    def _wide_row(self, row: int) -> Float[Tensor, "s X"]:
        known = self._wide.get(row)
        return self._logits[:, row] @ self._columns if known is None else known


class _Sampled:
    """Bilinear resizing of an axis: two of its positions and the second one's weight for each output."""

    def __init__(self, size: int, out: int) -> None:
        place = ((torch.arange(out) + 0.5) * (size / out) - 0.5).clamp_min(0)
        self.low: list[int] = place.long().tolist()
        self.high = [min(low + 1, size - 1) for low in self.low]
        self.weight: list[float] = (place - place.long()).tolist()

    def row(self, x: Float[Tensor, "k y x"], output: int, *, start: int) -> Float[Tensor, "k x"]:
        """One output of the rows of `x`, the first of which is at position `start`."""
        low, high = x[:, self.low[output] - start], x[:, self.high[output] - start]
        return torch.lerp(low, high, self.weight[output])
