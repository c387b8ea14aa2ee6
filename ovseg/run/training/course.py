"""The loop: pictures, a step, a row of the log, now and then a checkpoint and an evaluation."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ovseg.models.common.linear import linear_backend, untimed_backend
from ovseg.progress import Advance, progress
from ovseg.run.training.checkpoints import (
    BEST,
    MODEL,
    Standing,
    export,
    latest,
    load_checkpoint,
    save_checkpoint,
)
from ovseg.run.training.engine import DivergedError, Engine, Step
from ovseg.run.training.evaluation import chosen_score
from ovseg.run.training.log import TrainingLog, make_loggers
from ovseg.schema import TrainingConfig
from ovseg.types import TrainingBatch

logger = logging.getLogger(__name__)


Best = tuple[str, float]
"""What evaluations are judged by, and the largest value of it so far."""


@runtime_checkable
class Loader(Protocol):
    """Batches without an end, from any place on."""

    def __iter__(self) -> Iterator[TrainingBatch]:
        """From where it stands."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Where it stands."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go there."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Says how good the weights are; see `ovseg.run.training.evaluation.Examiner`."""

    def scores(self, iteration: int) -> Mapping[str, float]:
        """Name -> number, after so many iterations."""
        ...

    def forget(self, iteration: int) -> None:
        """Scores of later iterations than this will be made again."""
        ...


@dataclass(frozen=True)
class Course:
    """A run from where its folder stands to its end.

    Attributes:
        engine: with fresh weights.
        loader: of this process's parts of batches.
        folder: of the run.
        settings: of the training.
        examiner: evaluates in between; None for nobody.
    """

    engine: Engine
    loader: Loader
    folder: Path
    settings: TrainingConfig
    examiner: Judge | None = None

    def run(self) -> None:
        """Train, and write the result.

        Raises:
            DivergedError: a loss is not finite; says what to try.
            OutputError: a file cannot be written.
            DataError: the pictures cannot be trained on.
        """
        begun = load_checkpoint(self.folder, self.engine)
        if begun is not None:
            self.loader.load_state_dict(begun.loader)
        standing = begun or Standing(0, self.loader.state_dict(), {})
        log = self._log(standing)
        try:
            # The frozen parts' features must not depend on which library a process found faster.
            with linear_backend(untimed_backend()):
                standing = self._train(standing, log)
        finally:
            log.close()
        self._export(MODEL, standing.iteration)

    def _log(self, standing: Standing) -> TrainingLog:
        first = self.engine.processes.is_first
        loggers = make_loggers(self.settings.loggers, self.folder, standing.iteration) if first else []
        log = TrainingLog(
            folder=self.folder,
            every=self.settings.log_every,
            last=self.settings.iterations,
            loggers=loggers,
            keeps_file=first,
        )
        log.begin(standing.iteration, standing.log)
        if self.examiner is not None and first:
            self.examiner.forget(standing.iteration)
        return log

    def _train(self, standing: Standing, log: TrainingLog) -> Standing:
        start, end = standing.iteration, self.settings.iterations
        best = self._examined(start, standing.best, log) if start else standing.best
        words = _Words(start)
        batches = iter(self.loader)
        with self._progress(end - start, words) as advance:
            for iteration in range(start, end):
                began = time.perf_counter()
                parts = [next(batches) for _ in range(self.settings.accumulate)]
                data_seconds = time.perf_counter() - began
                step = self._step(iteration, parts)
                seconds = time.perf_counter() - began
                done = iteration + 1
                log.add(done, step, seconds=seconds, data_seconds=data_seconds)
                words.take(step, seconds, data_seconds)
                advance(1)
                if done == end or self._due(done, self.settings.save_every) or self._examines(done):
                    standing = Standing(done, self.loader.state_dict(), log.state, best)
                    save_checkpoint(self.folder, self.engine, standing)
                best = self._examined(done, best, log)
        return standing

    def _progress(self, iterations: int, words: "_Words") -> AbstractContextManager[Advance]:
        """Of several processes the first one says how far all are."""
        if self.engine.processes.is_first:
            return progress("Training", iterations, "iterations", words)
        return nullcontext(lambda _: None)

    def _step(self, iteration: int, parts: list[TrainingBatch]) -> Step:
        try:
            return self.engine.step(iteration, parts)
        except DivergedError as error:
            path = latest(self.folder)
            kept = f"The last checkpoint, {path}, is from before." if path else "There is no checkpoint yet."
            raise DivergedError(
                f"Training has diverged at iteration {iteration + 1}: {error}. {kept} Try a lower rate "
                f"(training.learning_rate={self.engine.optimizer.param_groups[0]['initial_lr'] / 2:g}), "
                "runtime.precision=bf16 or fp32, or a longer training.warmup, each with a new output=DIR and "
                "model.weights as they were; 'ovseg check data' looks for faults in the pictures."
            ) from error

    def _due(self, done: int, every: int) -> bool:
        return every > 0 and done % every == 0

    def _examines(self, done: int) -> bool:
        every = self.settings.evaluate_every
        return self.examiner is not None and (self._due(done, every) or done == self.settings.iterations)

    def _examined(self, done: int, best: Best | None, log: TrainingLog) -> Best | None:
        """Evaluate where that is due; the best so far of what is now judged by."""
        if self.examiner is None or not self._examines(done):
            return best
        scores = self.examiner.scores(done)
        log.scores(done, scores)
        found = chosen_score(scores, self.settings.best)
        if found is None:
            return best
        name, value = found
        if self.engine.processes.is_first:
            logger.info("after %d iterations: %s %.2f", done, name, value)
        few = self.settings.evaluate_pictures
        judged_by = name if few is None else f"{name} of {few} pictures"
        if best is not None and best[0] == judged_by and value <= best[1]:
            return best
        self._export(BEST, done)
        return judged_by, value

    def _export(self, file: str, iteration: int) -> None:
        training, frozen = self.engine.training, self.settings.save_frozen
        self.engine.processes.first(
            lambda: export(self.folder / file, training, iteration=iteration, with_frozen=frozen)
        )


class _Words:
    """What is said beside the count: loss, rate, and the share of time that is spent waiting for data."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration
        self._loss = self._seconds = self._data = 0.0

    def take(self, step: Step, seconds: float, data_seconds: float) -> None:
        """Smooth the numbers over about ten iterations."""
        loss = sum(step.losses.values())
        old = 0.9 if self._seconds else 0.0
        self._iteration += 1
        self._loss = old * self._loss + (1 - old) * loss
        self._seconds = old * self._seconds + (1 - old) * seconds
        self._data = old * self._data + (1 - old) * data_seconds

    def __call__(self) -> str:
        if not self._seconds:
            return ""
        rate = f"{1 / self._seconds:.2f}/s" if self._seconds < 1 else f"{self._seconds:.2f} s each"
        return f"at {self._iteration}, loss {self._loss:.4g}, {rate}, data {self._data / self._seconds:.0%}"
