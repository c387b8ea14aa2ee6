"""Files that a data set derives from its originals: made once, each whole or not there, resumable.

A `Preparation` says what is made of each picture; `prepare` makes what is missing. While it works, a journal
lies in the folder; when all is done, a manifest takes its place. So a folder with a journal is half made, and
one with neither was made by somebody else's tools or not at all. What comes out does not depend on the order
of work, on the number of threads or on how often it was interrupted.
"""

import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ovseg.errors import DataError, OutputError
from ovseg.progress import progress

JOURNAL = ".ovseg-{}.journal"
MANIFEST = ".ovseg-{}.json"

TEMPORARY = ".ovseg-{}.tmp"

State = Literal["absent", "half", "whole", "foreign"]


@dataclass(frozen=True)
class Made:
    """What one job makes.

    Attributes:
        files: path relative to the preparation's folder -> content.
        record: plain JSON for `Preparation.finish`, or None.
    """

    files: Mapping[str, bytes]
    record: Any = None


@dataclass(frozen=True)
class Outcome:
    """What `prepare` did: how many jobs it did, and how many had been done before."""

    made: int
    kept: int


class Preparation(ABC):
    """What is made for a data set in one folder.

    Args:
        name: tells it from other preparations in the same folder: ``labelTrainIds``; part of a file name.
        what: what is made, for people: ``train ids of COCO-Stuff``.
        folder: that the files go to.
    """

    def __init__(self, *, name: str, what: str, folder: Path) -> None:
        self.name = name
        self.what = what
        self.folder = folder

    @abstractmethod
    def jobs(self) -> Sequence[str]:
        """A name for each job, mostly one per picture, in a fixed order.

        Raises:
            DataError: the originals are not there.
        """

    @abstractmethod
    def files(self, job: str) -> Sequence[str]:
        """The files that a job makes, relative to the folder."""

    @abstractmethod
    def make(self, job: str) -> Made:
        """Do one job; called in threads, several at a time.

        Raises:
            DataError: an original cannot be read.
        """

    def finish(self, records: Sequence[Any]) -> Mapping[str, bytes]:
        """Files made of all jobs' records, in the order of the jobs: indices. None by default."""
        return {}

    @property
    def needs_records(self) -> bool:
        """Whether `finish` makes something; then files of unknown origin cannot stand for a job."""
        return type(self).finish is not Preparation.finish

    @property
    def manifest(self) -> Path:
        """Lies in the folder when all is made."""
        return self.folder / MANIFEST.format(self.name)

    @property
    def journal(self) -> Path:
        """Lies in the folder while it is half made: a line of JSON per job that is done."""
        return self.folder / JOURNAL.format(self.name)

    @property
    def state(self) -> State:
        """``whole`` or ``half`` made by ovseg, ``foreign`` (files of other tools), ``absent``."""
        if self.journal.exists():
            return "half"
        if self.manifest.exists():
            return "whole"
        return "foreign" if self.folder.is_dir() and any(self.folder.iterdir()) else "absent"


def prepare(preparation: Preparation, *, threads: int | None = None) -> Outcome:
    """Make what is missing. Running it again, also after it was killed, leads to the same files.

    Args:
        preparation: what to make.
        threads: that work at once; None takes as many as there are processors.

    Raises:
        DataError: an original is missing or damaged; what was made until then is kept.
        OutputError: the folder cannot be written to.
    """
    jobs = preparation.jobs()
    journal = _Journal(preparation)
    done = journal.done(jobs)
    todo = [job for job in jobs if job not in done]
    if not todo and preparation.manifest.exists() and not preparation.journal.exists():
        return Outcome(made=0, kept=len(jobs))
    try:
        preparation.folder.mkdir(parents=True, exist_ok=True)
        _sweep(preparation.folder)
        _make(preparation, todo, journal, done, threads or os.cpu_count() or 1)
        for path, content in preparation.finish([done[job] for job in jobs]).items():
            put(preparation.folder / path, content)
        put(preparation.manifest, _manifest(preparation, jobs, done))
        preparation.journal.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{preparation.folder} cannot be written to: {error.strerror}. Free some space or correct its "
            "permissions, then run the same command again: it goes on where it stopped."
        ) from error
    return Outcome(made=len(todo), kept=len(jobs) - len(todo))


def put(path: Path, content: bytes) -> None:
    """Put a file in its place in one step, so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY.format(f"{os.getpid()}-{threading.get_ident()}"))
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes were writing; other files that are being written stay."""
    for path in folder.rglob(TEMPORARY.format("*")):
        with suppress(ValueError, OSError):
            if not _is_alive(int(path.name.split("-")[1])):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _make(
    preparation: Preparation, todo: Sequence[str], journal: "_Journal", done: dict[str, Any], threads: int
) -> None:
    def job(name: str) -> tuple[str, Any]:
        made = preparation.make(name)
        for path, content in made.files.items():
            put(preparation.folder / path, content)
        journal.add(name, made.record)
        return name, made.record

    with journal.open(), progress(f"Preparing {preparation.what}", len(todo), "files") as advance:
        pool = ThreadPoolExecutor(threads)
        try:
            for future in as_completed([pool.submit(job, name) for name in todo]):
                name, record = future.result()
                done[name] = record
                advance(1)
        finally:
            # After an error or an interrupt nobody waits for thousands of jobs that have not begun.
            pool.shutdown(cancel_futures=True)


def _manifest(preparation: Preparation, jobs: Sequence[str], done: Mapping[str, Any]) -> bytes:
    content: dict[str, Any] = {"what": preparation.what, "jobs": len(jobs)}
    if preparation.needs_records:
        content["records"] = {job: done[job] for job in jobs}
    return (json.dumps(content, separators=(",", ":")) + "\n").encode()


@dataclass
class _Journal:
    """The jobs that are done, with their records, on disk."""

    preparation: Preparation
    _file: Any = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def done(self, jobs: Sequence[str]) -> dict[str, Any]:
        """Job -> record, of those jobs whose files are all there."""
        known = self._read()
        folder = self.preparation.folder
        return {
            job: known.get(job)
            for job in jobs
            if (job in known or not self.preparation.needs_records)
            and all((folder / path).exists() for path in self.preparation.files(job))
        }

    def _read(self) -> dict[str, Any]:
        known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known |= json.loads(self.preparation.manifest.read_text()).get("records", {})
        with suppress(OSError):
            for line in self.preparation.journal.read_text().splitlines():
                # Only the last line can be torn, by a kill while it was written.
                with suppress(ValueError):
                    name, record = json.loads(line)
                    known[name] = record
        return known

    def open(self) -> Any:  # noqa: ANN401
        """Begin or go on; a context manager that closes the file."""
        torn = self.preparation.journal.exists()
        self._file = self.preparation.journal.open("a")
        if torn:
            self._file.write("\n")
        return self._file

    def add(self, job: str, record: object) -> None:
        """Write one line, and hand it to the system at once."""
        with self._lock:
            self._file.write(json.dumps([job, record], separators=(",", ":")) + "\n")
            self._file.flush()


def require_prepared(path: Path, dataset: str) -> None:
    """Refuse to go on without a file that a preparation makes.

    Raises:
        DataError: it is not there.
    """
    if not path.exists():
        raise DataError(f"{path} is not there. Make it with 'ovseg prepare {dataset}' (root=DIR says where).")
