"""Published weights to the cache: asked for once, checked, and put in place in one step. Needs no torch.

A download grows in ``<file>.part``, which outlives a crash and is gone on with the next time. The file itself
appears only when it is complete, so whatever is there under its own name is whole.
"""

import errno
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from ovseg.errors import WeightsError
from ovseg.weights.kind import kind_of
from ovseg.weights.transfer import NotThere, Part, Published, Refused, transfer
from ovseg.weights.zoo import Entry, Remote, is_server

_log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each new try when a connection fails."""


def download(
    entry: Entry,
    folder: Path,
    *,
    mirror: str | None = None,
    progress: bool = True,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Fetch weights into a folder, unless they are there; two processes at once fetch them once.

    Args:
        entry: what to fetch; its remotes are tried in order, going on only where the server has no such file.
        folder: is made if need be.
        mirror: a server to ask instead, for ``<mirror>/<file name>``; or a folder, which is then known not to
            have the file, so that the download is refused at once.
        progress: whether a download that takes long says so on stderr.
        pauses: seconds before each new try when a connection fails.

    Returns:
        the path of the complete file.

    Raises:
        WeightsError: the file could not be fetched or is not what was published; the message says how to
            fetch it by hand.
    """
    if mirror is not None and not is_server(mirror):
        preferred = entry.remotes[0]
        raise WeightsError(
            _by_hand(entry, preferred, folder, f"the mirror {mirror} has no {preferred.file}.")
        )
    remotes = [_at_mirror(remote, mirror) for remote in entry.remotes]
    title = entry.name if progress else None
    reason = ""
    for remote in remotes:
        target = folder / remote.file
        try:
            with _alone(target):
                if not target.is_file():
                    _fetch(remote, target, title, pauses)
            return target
        except NotThere as error:
            reason = str(error)
        except Refused as error:
            raise WeightsError(_by_hand(entry, remote, folder, str(error))) from error
        except OSError as error:
            raise WeightsError(_disk_fault(folder, error)) from error
    raise WeightsError(_by_hand(entry, remotes[0], folder, reason))


def _at_mirror(remote: Remote, mirror: str | None) -> Remote:
    if mirror is None:
        return remote
    return replace(remote, url=f"{mirror.rstrip('/')}/{remote.file}", page=None)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from fetching the same file at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        _log.info("Another process is downloading %s; waiting for it.", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(remote: Remote, target: Path, title: str | None, pauses: Sequence[float]) -> None:
    """Transfer, check and put in place; once more from the start if the result is not what it should be."""
    part = Part(target)
    for is_last in (False, True):
        published = transfer(remote.url, part, title=title, pauses=pauses)
        fault = _fault(part.path, remote, published)
        if fault is None:
            part.finish()
            return
        # A part of an older file that was gone on with ends so, and is cured by starting over.
        part.discard()
        if is_last:
            raise Refused(f"{fault} It was fetched twice from {remote.url}, in vain.")
        _log.warning("%s: %s Fetching it once more from the start.", target.name, fault)


def _fault(path: Path, remote: Remote, published: Published) -> str | None:
    """What is wrong with a complete download, from what is published of it and from its own structure."""
    size, wanted = path.stat().st_size, remote.size or published.size
    if wanted is not None and size != wanted:
        return f"the file has {size:,} bytes where {wanted:,} are published."
    sha256 = remote.sha256 or published.sha256
    if sha256 is not None:
        found = sha256_of(path)
        if found != sha256:
            return f"the file has the SHA-256 {found[:12]}... where {sha256[:12]}... is published."
    try:
        kind_of(path)
    except WeightsError:
        return f"what the server sent ({size:,} bytes) is cut off or is no weights file."
    return None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as a hex digest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _by_hand(entry: Entry, remote: Remote, folder: Path, reason: str) -> str:
    return (
        f"'{entry.name}' could not be downloaded: {reason}\n"
        f"To fetch it by hand, open {remote.page or remote.url}\n"
        f"and put the file at {folder / remote.file}\n"
        f"Where there is no network, set OVSEG_MIRROR to a folder or a server that holds {remote.file}."
    )


def _disk_fault(folder: Path, error: OSError) -> str:
    what = "is full" if error.errno == errno.ENOSPC else f"cannot be written: {error}"
    return f"The folder for weights, {folder}, {what}. Set OVSEG_CACHE to another folder."
