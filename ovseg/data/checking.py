"""Looking at every picture and label of a data set, several at a time; a line for each that is wrong."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ovseg.data.images import opened
from ovseg.errors import DataError
from ovseg.progress import progress
from ovseg.truth import IGNORED, Truth

_AHEAD = 4
"""Pictures per thread that are looked at before the first of them is reported."""


def wrong_count(found: int, wanted: int | None, split: str, source: str) -> Iterator[str]:
    """A line if a split has not as many pictures as its publisher says (None: nobody knows)."""
    if wanted is not None and found != wanted:
        yield (
            f"The split '{split}' has {found} pictures, its publisher's has {wanted}. "
            f"{'Some were not unpacked' if found < wanted else 'There are others among them'}: compare with "
            f"{source}. Numbers on this part are not those of the benchmark."
        )


def absent_files(what: str, paths: Sequence[Path]) -> Iterator[str]:
    """A line per folder that lacks files; folders are listed, which is faster than asking for each file."""
    wanted: dict[Path, list[str]] = {}
    for path in paths:
        wanted.setdefault(path.parent, []).append(path.name)
    for folder, names in wanted.items():
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        absent = [name for name in names if name not in there]
        if absent:
            yield (
                f"{folder} lacks {len(absent)} of {len(names)} {what} (the first: {absent[0]}). Copy or "
                "unpack them again."
            )


def check_pictures(read_truth: Callable[[int], Truth], files: Sequence[tuple[Path, ...]]) -> Iterator[str]:
    """What is wrong with each picture and its truth, in the data set's order.

    Args:
        read_truth: of the picture with an index; may raise `DataError`.
        files: of each picture its own, which is decoded, at low resolution where that is possible, and those
            of its labels. Where one is absent, which `absent_files` says, the picture is left out.
    """
    there = [index for index, paths in enumerate(files) if all(path.exists() for path in paths)]
    threads = _threads()
    with progress("Checking", len(there), "pictures") as advance, ThreadPoolExecutor(threads) as pool:
        # Pillow decodes outside Python's lock, so threads help; only some wait, so memory stays small.
        # The first goes alone: what a data set reads once is then read once.
        step = threads * _AHEAD
        for span in [there[:1], *(there[at : at + step] for at in range(1, len(there), step))]:
            for faults in pool.map(lambda index: _faults(read_truth, index, files[index][0]), span):
                yield from faults
                advance(1)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _faults(read_truth: Callable[[int], Truth], index: int, image: Path) -> list[str]:
    found = []
    try:
        with opened(image) as picture:
            picture.draft("RGB", (picture.width // 8 + 1, picture.height // 8 + 1))
            picture.load()
    except DataError as error:
        return [str(error)]  # its truth cannot be compared with a picture that does not open
    try:
        truth = read_truth(index)
    except DataError as error:
        found.append(str(error))
    else:
        if says_nothing(truth):
            found.append(
                f"{image}: its truth says nothing of any pixel, so it counts for no metric. Its labels "
                "may be another picture's or empty: get them again."
            )
    return found


def says_nothing(truth: Truth) -> bool:
    """Whether a truth has no label in any of its views."""
    labelled = truth.semantic is not None and bool(np.any(truth.semantic != IGNORED))
    segments = truth.panoptic is not None and bool(truth.panoptic.segments)
    # A picture without things is sound, so instances alone do not make a truth empty.
    only_instances = truth.semantic is None and truth.panoptic is None
    return not (labelled or segments or only_instances)
