"""The course of a run: a CSV file always, and whatever else was asked for.

A row holds means over the iterations since the row before. What is summed up so far belongs to the
checkpoint, so that a resumed run writes the rows that it would have written without the interruption.
"""

import csv
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ovseg.errors import ConfigError
from ovseg.report.files import output_error, write_file
from ovseg.run.training.engine import Step

FILE = "log.csv"
TENSORBOARD = "tensorboard"


@runtime_checkable
class Logger(Protocol):
    """Takes numbers by their names."""

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Keep the values of an iteration, counted from 1."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class TrainingLog:
    """Means over iterations, to a CSV file and to loggers.

    Args:
        folder: of the run.
        every: iterations per row.
        last: iteration that ends a row in any case; None for none.
        loggers: that get the same numbers.
        keeps_file: whether there is a file; of several processes only the first has one.
    """

    def __init__(
        self,
        *,
        folder: Path,
        every: int,
        last: int | None = None,
        loggers: Sequence[Logger] = (),
        keeps_file: bool = True,
    ) -> None:
        self._path = folder / FILE
        self._keeps_file = keeps_file
        self._every = every
        self._last = last
        self._loggers = tuple(loggers)
        self._sums: dict[str, float] = {}
        self._count = 0

    def begin(self, iteration: int, state: Mapping[str, Any]) -> None:
        """Go on after so many iterations: rows that were written later are taken back.

        Raises:
            OutputError: the file cannot be read or written.
        """
        self._sums, self._count = dict(state.get("sums", {})), int(state.get("count", 0))
        if not self._keeps_file or not self._path.exists():
            return
        try:
            text = self._path.read_text()
        except OSError as error:
            raise output_error(self._path, error) from error
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines[1:] if int(line.partition(",")[0]) <= iteration]
        if kept:
            write_file(self._path, "".join([lines[0], *kept]).encode())
        else:
            self._path.unlink()

    @property
    def state(self) -> dict[str, Any]:
        """For the checkpoint: the sums of the row that is not yet full."""
        return {"sums": dict(self._sums), "count": self._count}

    def add(self, iteration: int, step: Step, *, seconds: float, data_seconds: float) -> None:
        """Take in an iteration, counted from 1; write a row if it is the last one of it.

        Raises:
            OutputError: the row cannot be written.
        """
        values = {
            "learning_rate": step.learning_rate,
            "loss": sum(step.losses.values()),
            **step.losses,
            "gradient_norm": step.gradient_norm,
            "seconds": seconds,
            "data_seconds": data_seconds,
        }
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if iteration % self._every and iteration != self._last:
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        means["learning_rate"] = step.learning_rate
        self._sums, self._count = {}, 0
        if self._keeps_file:
            self._append(iteration, means)
        for logger in self._loggers:
            logger.write(iteration, {f"training/{name}": value for name, value in means.items()})

    def scores(self, iteration: int, values: Mapping[str, float]) -> None:
        """Tell the loggers the numbers of an evaluation; its own folder has them all."""
        for logger in self._loggers:
            logger.write(iteration, {f"evaluation/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Close the loggers."""
        for logger in self._loggers:
            logger.close()

    def _append(self, iteration: int, values: Mapping[str, float]) -> None:
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        try:
            if not self._path.exists():
                writer.writerow(["iteration", *values])
            writer.writerow([iteration, *map(repr, values.values())])
            with self._path.open("a") as file:
                file.write(lines.getvalue())
        except OSError as error:
            raise output_error(self._path, error) from error


class _TensorBoard:
    def __init__(self, folder: Path, iteration: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        make: Callable[..., Any] = SummaryWriter
        # Points that an interrupted run wrote behind its last checkpoint are hidden.
        self._writer = make(log_dir=str(folder / TENSORBOARD), purge_step=iteration + 1)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, iteration: int) -> None:
        self._run = importlib.import_module("wandb").init(
            project="ovseg", name=folder.name, dir=str(folder), id=_run_name(folder), resume="allow"
        )

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        self._run.finish()


LOGGERS: Mapping[str, tuple[str, str, Callable[[Path, int], Logger]]] = {
    "tensorboard": ("tensorboard", "train", _TensorBoard),
    "wandb": ("wandb", "wandb", _WeightsAndBiases),
}
"""Name -> (package, the extra of ovseg that brings it, what takes the run's folder and the iteration)."""


def require_loggers(names: Sequence[str]) -> None:
    """See that the packages of loggers are there, before anything takes long.

    Raises:
        ConfigError: one is not; says what to type.
    """
    for name in names:
        package, extra, _ = LOGGERS[name]
        if importlib.util.find_spec(package) is None:
            others = ",".join(other for other in names if other != name)
            raise ConfigError(
                f"training.loggers={name}: the package '{package}' is not installed. Type pip install "
                f"'ovseg[{extra}]', or leave it out: training.loggers=[{others}]; {FILE} is always written."
            )


def make_loggers(names: Sequence[str], folder: Path, iteration: int) -> list[Logger]:
    """The loggers of a run that has done so many iterations."""
    return [LOGGERS[name][2](folder, iteration) for name in names]


def _run_name(folder: Path) -> str:
    return "-".join(folder.resolve().parts[-3:]).replace("/", "-")
