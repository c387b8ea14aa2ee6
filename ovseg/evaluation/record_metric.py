"""What all evaluators share: a `torchmetrics.Metric` whose state is the records themselves.

Records are kept as lines of JSON and put into the order of their text before anything is added up. So sums of
floats come out the same to the last digit, whatever the order of the pictures, their split over processes,
and whether a record came from this run or from the file of an interrupted one.
"""

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ovseg.errors import ConfigError
from ovseg.evaluation.bootstrap import Tally, intervals, point_values
from ovseg.interfaces import Record
from ovseg.types import Scores


class RecordMetric(Metric, ABC):
    """Base of the evaluators.

    `task` and `measure` (see `ovseg.interfaces.Evaluator`) are the subclass's; `measure` may be an attribute
    that holds a small callable object, so that worker processes are sent that and not the metric.

    Args:
        resamples: of the bootstrap intervals; 0 for none.

    Raises:
        ConfigError: `resamples` is negative.
    """

    full_state_update = False
    lines: list[Tensor] | Tensor

    def __init__(self, *, resamples: int) -> None:
        super().__init__()
        if resamples < 0:
            raise ConfigError(f"resamples={resamples}: must be 0 (no intervals) or more, for example 1000.")
        self._resamples = resamples
        # A process without pictures sends an empty tensor of the metric's dtype to the others.
        self.set_dtype(torch.uint8)
        self.add_state("lines", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def tally(self, records: Sequence[Record]) -> Tally:
        """What records say together; for `ovseg.evaluation.bootstrap.difference_intervals` too."""

    def update(self, record: Record) -> None:
        """Add a picture's record.

        Raises:
            TypeError, ValueError: the record has something that is not plain JSON.
        """
        line = json.dumps(record, sort_keys=True, allow_nan=False) + "\n"
        assert isinstance(self.lines, list)
        self.lines.append(torch.frombuffer(bytearray(line, "ascii"), dtype=torch.uint8).to(self.device))

    def compute(self) -> Scores:
        """The metric over all records so far."""
        tally = self.tally(self._sorted_records())
        return Scores(
            values=point_values(tally),
            per_class=tally.per_class(),
            intervals=intervals(tally, resamples=self._resamples),
            pictures=tally.pictures,
        )

    def _sorted_records(self) -> list[Record]:
        parts = [self.lines] if isinstance(self.lines, Tensor) else self.lines
        text = b"".join(part.cpu().numpy().tobytes() for part in parts)
        return [json.loads(line) for line in sorted(text.splitlines())]

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics copies a result field by field, which the frozen Scores refuses; it leaves alone what
        # it does not know.
        sealed = super()._wrap_compute(lambda: _Sealed(compute()))

        def unsealed() -> Scores:
            with warnings.catch_warnings():
                # Of many processes one may have no pictures: that is in order.
                warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
                scores: Scores = sealed().scores
                return scores

        return unsealed


class _Sealed:
    """A result in an envelope."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
