"""Files that are either whole or not there: written beside their place, then moved into it."""

import errno
import json
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ovseg.errors import OutputError

Json = dict[str, Any] | list[Any]

TEMPORARY = ".ovseg-{}.tmp"
"""Name of a file while it is written; what matches it after a crash is rubbish."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


def write_file(path: Path, content: bytes) -> None:
    """Put a file in its place in one step, so that a reader or a later run never sees half of it.

    Raises:
        OutputError: the disk is full, the folder may not be written to, or the like; says what to do.
    """
    write_chunks(path, [content])


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """As `write_file`, for content that comes piece by piece.

    Raises:
        OutputError: as `write_file`.
    """
    temporary = path.with_name(TEMPORARY.format(f"{os.getpid()}-{threading.get_ident()}"))
    try:
        with temporary.open("wb") as file:
            file.writelines(chunks)
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Json, *, indent: int | None = None) -> None:
    """Put JSON in its place in one step.

    Raises:
        OutputError: as `write_file`.
    """
    write_file(path, (json.dumps(content, indent=indent, allow_nan=False) + "\n").encode())


def output_error(path: Path, error: OSError) -> OutputError:
    """The error that tells a user why a path cannot be written to and what to do."""
    if error.errno in _NO_SPACE:
        advice = "Free some space, then run the same command again: it goes on where it stopped."
    elif error.errno in _FORBIDDEN:
        advice = "Choose a folder that you may write to with output=DIR."
    elif error.errno in _IN_THE_WAY:
        advice = (
            "A file or folder of that name is in the way: move it, or choose another folder with output=DIR."
        )
    else:
        advice = "Check the disk, or choose another folder with output=DIR."
    return OutputError(f"{path} cannot be written: {error.strerror}. {advice}")
