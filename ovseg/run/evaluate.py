"""A data set in, numbers out: predict, compare with the truth beside, add up; see `ovseg.run.run_folder`."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ovseg.dataset import Dataset
from ovseg.errors import DataError
from ovseg.interfaces import Evaluator, Method
from ovseg.models.common.linear import linear_backend, untimed_backend
from ovseg.progress import Advance, progress
from ovseg.run.attempt import attempt
from ovseg.run.kept_predictions import KeptPredictions
from ovseg.run.measuring import Measured, Submit, Yardstick, measuring
from ovseg.run.metrics import Numbers, add_up
from ovseg.run.opened_run import unfinish
from ovseg.run.pipeline import ahead
from ovseg.run.processes import Processes
from ovseg.run.record_files import Shard, collect, finished, open_shard
from ovseg.run.run_folder import PREDICTIONS, PictureLine
from ovseg.types import Image, Prediction, Task
from ovseg.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

LOOK_AHEAD = 2
"""Pictures that are read before the method asks for them."""


@dataclass(frozen=True)
class Job:
    """What is evaluated, with what.

    Attributes:
        method: prepared, with weights.
        dataset: pictures with truth.
        count: how many pictures, from the first.
        said: the classes as the method is told them, in the data set's order.
        tasks: views that the method is asked for.
        evaluators: by the name that their numbers get.
        keep: whether predictions are kept.
        workers: processes that evaluate beside each method.
    """

    method: Method
    dataset: Dataset
    count: int
    said: Vocabulary
    tasks: tuple[Task, ...]
    evaluators: Mapping[str, Evaluator]
    keep: bool
    workers: int

    def kept(self, folder: Path) -> KeptPredictions | None:
        """Where predictions go; None if they are not kept."""
        return KeptPredictions(folder / PREDICTIONS, self.tasks) if self.keep else None


def evaluate_pictures(job: Job, folder: Path, processes: Processes) -> None:
    """Evaluate what no earlier run has finished; this process takes its share of it.

    Raises:
        DataError: a line of records is damaged.
        OutputError: the folder cannot be written to or has records of other pictures.
        OvsegError: an error that every picture would meet, or a worker or another process has died.
    """
    keys = job.dataset.keys[: job.count]
    done = processes.first(lambda: _begin(folder, keys))
    mine = [index for index in range(job.count) if index not in done][processes.rank :: processes.count]
    yardstick = Yardstick(
        job.dataset,
        job.said,
        {name: evaluator.measure for name, evaluator in job.evaluators.items()},
        job.kept(folder),
    )
    with open_shard(folder, processes.rank) as shard:
        if mine:
            with (
                measuring(yardstick, job.workers) as submit,
                progress("Evaluating", len(mine), "pictures") as advance,
            ):
                _run_through(job, mine, submit, shard, advance)
    processes.wait()


def gather(job: Job, folder: Path) -> Numbers:
    """The numbers of all pictures, from their records; only in the first process, when all have finished.

    Raises:
        OutputError: a file cannot be written.
    """
    keys = job.dataset.keys[: job.count]
    lines = list(collect(folder, keys).values())
    kept = job.kept(folder)
    if kept is not None:
        kept.write_indices([line.key for line in lines if line.error is None], job.said)
    return add_up(lines, job.evaluators)


def _begin(folder: Path, keys: Sequence[str]) -> set[int]:
    """The pictures that are finished; if there are others, the folder's numbers are not those of all."""
    done = finished(collect(folder, keys))
    if len(done) < len(keys):
        unfinish(folder)
    return done


@dataclass(frozen=True)
class _Begun:
    """A picture that waits for its records."""

    index: int
    seconds: float
    stages: Mapping[str, float]
    measured: "Future[Measured]"


def _run_through(job: Job, indices: Sequence[int], submit: Submit, shard: Shard, advance: Advance) -> None:
    """Read ahead, predict, have it measured beside, write a line per picture in order."""
    keys = job.dataset.keys

    def write(line: PictureLine) -> None:
        if line.error is not None:
            logger.warning("Left out: %s: %s", line.key, line.error)
        shard.append(line)
        advance(1)

    def finish(begun: _Begun) -> None:
        write(_line(keys[begun.index], begun, warm=begun.index != indices[0]))

    with _in_order(finish, depth=2 * max(1, job.workers)) as begin, linear_backend(untimed_backend()):
        for index, image in ahead(lambda index: (index, _read(job.dataset, index)), indices, LOOK_AHEAD):
            start = time.perf_counter()
            prediction, reason = (None, image) if isinstance(image, str) else _predict(job, image)
            seconds = time.perf_counter() - start
            if prediction is None:
                write(PictureLine(index, keys[index], {}, {}, reason))
            else:
                begin(_Begun(index, seconds, prediction.seconds, submit(index, prediction)))


def _read(dataset: Dataset, index: int) -> Image | str:
    """The picture, or why there is none."""
    try:
        return dataset.image(index)
    except DataError as error:
        return str(error)


def _predict(job: Job, image: Image) -> tuple[Prediction | None, str | None]:
    predictions, reason = attempt(job.method, [image], job.said, job.tasks)
    return (predictions[0] if predictions else None), reason


def _line(key: str, begun: _Begun, *, warm: bool) -> PictureLine:
    measured = begun.measured.result()
    if measured.error is not None:
        return PictureLine(begun.index, key, {}, {}, measured.error)
    # Where scores tie, the earlier picture goes first; the number says which that is.
    records = {name: {**record, "picture": begun.index} for name, record in measured.records.items()}
    seconds = {
        "method": begun.seconds,
        "evaluation": measured.seconds,
        "stages": dict(begun.stages),
        "warm": warm,
    }
    return PictureLine(begun.index, key, records, seconds)


@contextmanager
def _in_order(finish: Callable[[_Begun], None], depth: int) -> Iterator[Callable[[_Begun], None]]:
    """Finish pictures in the order of their beginning, at most `depth` of them waiting.

    Also those that are begun when the block ends by an error or by Ctrl-C.
    """
    waiting: deque[_Begun] = deque()

    def begin(begun: _Begun) -> None:
        waiting.append(begun)
        while len(waiting) > depth or (waiting and waiting[0].measured.done()):
            finish(waiting.popleft())

    try:
        yield begin
    finally:
        while waiting:
            finish(waiting.popleft())
