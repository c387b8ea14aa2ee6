"""Truth and evaluators in processes of their own, so that the method never waits for them.

A worker is sent the data set and the small callables of the evaluators once, and per picture the prediction,
packed: masks as bits, labels in as few bytes as they need. What comes back is the records.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch

from ovseg.dataset import Dataset
from ovseg.errors import DataError, OvsegError
from ovseg.interfaces import Record
from ovseg.run.kept_predictions import KeptPredictions
from ovseg.truth import Truth
from ovseg.types import Instances, Panoptic, Prediction
from ovseg.vocabulary import Vocabulary

Measure = Callable[[Prediction, Truth], Record]


@dataclass(frozen=True)
class Yardstick:
    """What is the same for all pictures; sent to each worker once.

    Attributes:
        dataset: has the truth.
        vocabulary: that the predictions are of.
        measures: evaluator -> what it does with a picture.
        keep: where to put predictions; None keeps none.
    """

    dataset: Dataset
    vocabulary: Vocabulary
    measures: Mapping[str, Measure]
    keep: KeptPredictions | None = None


@dataclass(frozen=True)
class Measured:
    """What came of one picture.

    Attributes:
        records: evaluator -> its record; empty if there is an error.
        seconds: that reading the truth and measuring took.
        error: why the picture cannot be evaluated; None if it was.
    """

    records: Mapping[str, Any]
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Packed:
    """A prediction with few bytes.

    Attributes:
        rest: the prediction without vocabulary and views.
        masks: bits of the instances' masks and their shape; None without instances.
    """

    image_size: tuple[int, int]
    semantic: np.ndarray | None
    ids: np.ndarray | None
    segments: tuple[Any, ...]
    masks: tuple[np.ndarray, tuple[int, ...]] | None
    labels: np.ndarray | None
    scores: np.ndarray | None


Submit = Callable[[int, Prediction], "Future[Measured]"]
"""Index of the picture in the data set and its prediction -> what comes of it, later."""


def measure(yardstick: Yardstick, index: int, prediction: Prediction) -> Measured:
    """Compare a picture with its truth."""
    start = time.perf_counter()
    try:
        truth = yardstick.dataset.truth(index)
        records = {name: measure(prediction, truth) for name, measure in yardstick.measures.items()}
        if yardstick.keep is not None:
            yardstick.keep.save(yardstick.dataset.keys[index], prediction)
    except DataError as error:
        return Measured({}, time.perf_counter() - start, str(error))
    return Measured(records, time.perf_counter() - start)


def default_workers(processes: int) -> int:
    """How many workers a process takes if nobody says, where several share the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores // processes - 1))


@contextmanager
def measuring(yardstick: Yardstick, workers: int) -> Iterator[Submit]:
    """Workers for the time of the block; with none of them, `Submit` itself does the work.

    Raises:
        OvsegError: a worker has died (from inside the block, when a result is asked for).
    """
    if workers == 0 or _has_foreign_start_method():
        yield lambda index, prediction: _done(measure(yardstick, index, prediction))
        return
    method = "forkserver" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(yardstick,))
    try:
        yield lambda index, prediction: pool.submit(_measure_packed, index, pack(prediction))
    except BrokenProcessPool as error:
        raise OvsegError(
            "A process that evaluates beside the model has died, most likely for lack of memory. Run the "
            "same command again; it goes on where it stopped. Fewer of them need less memory: "
            "runtime.workers=1, or 0 for none."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _has_foreign_start_method() -> bool:
    """Whether this is a worker of joblib, whose own way to start processes its children do not know."""
    return multiprocessing.get_start_method(allow_none=True) not in (
        None,
        *multiprocessing.get_all_start_methods(),
    )


def pack(prediction: Prediction) -> Packed:
    """Make a prediction small; its vocabulary and times are left out."""
    instances = prediction.instances
    masks = None if instances is None else instances.masks.numpy()
    panoptic = prediction.panoptic
    return Packed(
        image_size=prediction.image_size,
        semantic=None if prediction.semantic is None else _narrow(prediction.semantic.numpy()),
        ids=None if panoptic is None else _narrow(panoptic.ids.numpy()),
        segments=() if panoptic is None else panoptic.segments,
        masks=None if masks is None else (np.packbits(masks), masks.shape),
        labels=None if instances is None else instances.labels.numpy(),
        scores=None if instances is None else instances.scores.numpy(),
    )


def unpack(packed: Packed, vocabulary: Vocabulary) -> Prediction:
    """Undo `pack`."""
    prediction = Prediction(vocabulary, packed.image_size)
    if packed.semantic is not None:
        prediction = replace(prediction, semantic=torch.from_numpy(packed.semantic.astype(np.int64)))
    if packed.ids is not None:
        ids = torch.from_numpy(packed.ids.astype(np.int64))
        prediction = replace(prediction, panoptic=Panoptic(ids, packed.segments))
    if packed.masks is not None:
        bits, shape = packed.masks
        masks = np.unpackbits(bits, count=int(np.prod(shape))).view(np.bool_).reshape(shape)
        labels, scores = torch.from_numpy(packed.labels), torch.from_numpy(packed.scores)
        prediction = replace(prediction, instances=Instances(torch.from_numpy(masks), labels, scores))
    return prediction


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same integers in the smallest type that holds them; -1 takes a signed one."""
    kind = np.min_scalar_type(int(values.max()) if values.min() >= 0 else -int(values.max()) - 2)
    return values.astype(kind)


_yardstick: Yardstick | None = None


def _begin(yardstick: Yardstick) -> None:
    """Run in each worker before its first picture."""
    global _yardstick
    _yardstick = yardstick
    torch.set_num_threads(1)
    # Ctrl-C goes to all processes of a terminal; the parent finishes what is begun and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for pictures for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _measure_packed(index: int, packed: Packed) -> Measured:
    assert _yardstick is not None
    return measure(_yardstick, index, unpack(packed, _yardstick.vocabulary))


def _done(measured: Measured) -> "Future[Measured]":
    future: Future[Measured] = Future()
    future.set_result(measured)
    return future
