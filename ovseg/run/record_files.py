"""The records of a run on disk: appended line by line by each process, put in order at the start and the end.

A line is written in one piece and never changed. A process that is killed leaves at most a last line without
an end, which counts as not written.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ovseg.errors import OutputError
from ovseg.report.files import output_error, write_chunks
from ovseg.run.run_folder import RECORDS, SHARDS, PictureLine, read_lines

SECONDS_BETWEEN_SYNCS = 10.0
"""How much work a power cut may cost; a killed process loses nothing that it has written."""


def collect(folder: Path, keys: Sequence[str]) -> dict[int, PictureLine]:
    """Bring the lines of all processes of earlier runs into `RECORDS`, in order.

    Args:
        folder: of the run.
        keys: of the pictures that are evaluated, in the data set's order.

    Returns:
        Index of the picture -> its line.

    Raises:
        DataError: a line is damaged.
        OutputError: a line is of another picture, or the folder cannot be written to.
    """
    shards = sorted(folder.glob(SHARDS))
    found: dict[int, PictureLine] = {}
    for path in (folder / RECORDS, *shards):
        if not path.exists():
            continue
        for line in read_lines(path, unfinished=True):
            _refuse_other_picture(path, line, keys)
            # A picture that failed once may have been evaluated later.
            if line.index not in found or line.error is None:
                found[line.index] = line
    found = dict(sorted(found.items()))
    if found or shards:
        write_lines(folder / RECORDS, found.values())
    for path in shards:
        path.unlink(missing_ok=True)
    return found


def write_lines(path: Path, lines: Iterable[PictureLine]) -> None:
    """Put a file of lines in its place in one step.

    Raises:
        OutputError: it cannot be written.
    """
    write_chunks(path, map(_encoded, lines))


class Shard:
    """The file that one process appends to; made by `open_shard`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._synced = time.monotonic()

    def append(self, line: PictureLine) -> None:
        """Add a line.

        Raises:
            OutputError: it cannot be written.
        """
        content = _encoded(line)
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
            if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
                os.fsync(self._descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            raise output_error(self._path, error) from error


@contextmanager
def open_shard(folder: Path, rank: int) -> Iterator[Shard]:
    """A new file for the lines of one process.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / SHARDS.replace("*", str(rank))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield Shard(path, descriptor)
    finally:
        os.fsync(descriptor)
        os.close(descriptor)


def _encoded(line: PictureLine) -> bytes:
    return (json.dumps(line.to_json(), allow_nan=False) + "\n").encode()


def _refuse_other_picture(path: Path, line: PictureLine, keys: Sequence[str]) -> None:
    if line.index >= len(keys):
        raise OutputError(
            f"{path} has records of more than the {len(keys)} pictures of this run. Choose another folder "
            "with output=DIR for the smaller one, or start afresh in this one with resume=false."
        )
    if line.key != keys[line.index]:
        raise OutputError(
            f"{path} says that picture {line.index} is '{line.key}', the data set that it is "
            f"'{keys[line.index]}': its files have changed. Choose another folder with output=DIR, or start "
            "afresh in this one with resume=false."
        )


def finished(lines: Mapping[int, PictureLine]) -> set[int]:
    """The pictures that need no second look; those that failed are tried again."""
    return {index for index, line in lines.items() if line.error is None}
