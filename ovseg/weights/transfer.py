"""One file over HTTP into a part on disk, gone on with where it broke off. Knows nothing of names."""

import logging
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import requests

from ovseg.progress import BYTES, progress
from ovseg.weights.kind import is_web_page

_log = logging.getLogger(__name__)

_TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte
_CHUNK = 1 << 16  # a connection that breaks loses at most one chunk
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may differ a moment later


class Refused(Exception):
    """The server will not give the file, however often it is asked."""


class NotThere(Refused):
    """The server has no such file."""


class _Interrupted(Exception):
    """This try failed in a way that the next may not."""


@dataclass(frozen=True)
class Published:
    """What a server says of a file; None where it says nothing."""

    size: int | None
    sha256: str | None


class Part:
    """A file that grows until it is whole, with the server's tag of the content that it is a part of."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.etag")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def tag(self) -> str | None:
        """The tag under which the server gave the first bytes, if it gave one."""
        return self._tag.read_text().strip() if self._tag.is_file() else None

    def start(self, tag: str | None) -> None:
        """Begin anew with an empty part."""
        self.path.write_bytes(b"")
        # A weak tag does not promise equal bytes, so nothing may be appended on its word.
        if tag and not tag.startswith("W/"):
            self._tag.write_text(tag)
        else:
            self._tag.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget what is there."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the whole file its own name, in one step."""
        self.path.replace(self.target)
        self._tag.unlink(missing_ok=True)


def transfer(url: str, part: Part, *, title: str | None, pauses: Sequence[float]) -> Published:
    """Append to a part until the server says that it is whole.

    Args:
        url: of the file.
        part: what is there already is kept and gone on with, if the server can.
        title: what to call the file on stderr while it grows; None says nothing.
        pauses: seconds before each new try when a connection fails; a try that brought bytes starts the row
            anew.

    Raises:
        NotThere: the server has no such file.
        Refused: it answers with something else, or the connection fails once more than there are pauses.
        OSError: the part cannot be written.
    """
    left = list(pauses)
    while True:
        before = part.size
        try:
            return _attempt(url, part, title)
        except _Interrupted as error:
            if part.size > before:
                left = list(pauses)
            if not left:
                kept = (
                    f" {part.size:,} bytes are kept, and the next try goes on from there."
                    if part.size
                    else ""
                )
                raise Refused(f"{error}{kept}") from error
            _log.info("%s Trying again in %g s.", error, left[0])
            time.sleep(left.pop(0))


def _attempt(url: str, part: Part, title: str | None) -> Published:
    """Ask once for what the part lacks, and append it."""
    try:
        with requests.get(url, headers=_request_headers(part), stream=True, timeout=_TIMEOUT) as answer:
            published = _place(answer, part)
            if answer.status_code != requests.codes.requested_range_not_satisfiable:
                _check_disk(part, published)
                _append(answer, part, title, published.size)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Interrupted(_connection_fault(url, part, error)) from error
    except requests.RequestException as error:
        raise Refused(f"{url} cannot be asked for: {error}.") from error
    if published.size is not None and part.size < published.size:
        raise _Interrupted(f"The connection broke off after {part.size:,} of {published.size:,} bytes.")
    return published


def _request_headers(part: Part) -> dict[str, str]:
    # Lengths and ranges count the bytes that are sent, so these must be the file's own.
    headers = {"Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.tag:
            headers["If-Range"] = part.tag
    return headers


def _place(answer: requests.Response, part: Part) -> Published:
    """Bring the part to where the answer goes on: emptied if the answer is the whole file."""
    status = answer.status_code
    if status in (404, 410):
        raise NotThere(f"the server has no such file (it says {status} for {answer.url}).")
    if status in _PASSING:
        raise _Interrupted(f"The server is not ready (it says {status} for {answer.url}).")
    if status == requests.codes.requested_range_not_satisfiable:
        size = _number_after_slash(answer)
        if size != part.size:
            part.discard()
            raise _Interrupted("The part on disk is longer than the file on the server; starting over.")
        return Published(size, _digest(answer))
    if not answer.ok:
        raise Refused(f"the server refuses (it says {status} {answer.reason} for {answer.url}).")
    if "html" in answer.headers.get("Content-Type", ""):
        raise Refused(_page_reason(answer.text))
    if status == requests.codes.partial_content:
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
            part.discard()
            raise _Interrupted("The server went on from another place than was asked; starting over.")
        return Published(_number_after_slash(answer), _digest(answer))
    part.start(answer.headers.get("ETag"))
    length = answer.headers.get("Content-Length", "")
    return Published(int(length) if length.isdigit() else None, _digest(answer))


def _number_after_slash(answer: requests.Response) -> int | None:
    """The size of the whole file in ``Content-Range: bytes 10-19/20``."""
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdigit() else None


def _digest(answer: requests.Response) -> str | None:
    """The SHA-256 that the Hugging Face hub states, in the answer that leads on to its storage."""
    tags = [step.headers.get("X-Linked-ETag", "").strip('"') for step in (*answer.history, answer)]
    return next((tag for tag in tags if re.fullmatch("[0-9a-f]{64}", tag)), None)


def _check_disk(part: Part, published: Published) -> None:
    free = shutil.disk_usage(part.path.parent).free
    wanted = (published.size or 0) - part.size
    if wanted > free:
        raise Refused(
            f"{wanted:,} bytes are still to come, and the disk of {part.path.parent} has {free:,} free. "
            "Free some space, or set OVSEG_CACHE to a folder on another disk."
        )


def _append(answer: requests.Response, part: Part, title: str | None, size: int | None) -> None:
    shown = progress(f"Downloading {title}", size, BYTES) if title else nullcontext(lambda count: None)
    with part.path.open("ab") as file, shown as advance:
        advance(part.size)
        for chunk in answer.iter_content(_CHUNK):
            # Some servers say nothing of the type, or lie.
            if file.tell() == 0 and is_web_page(chunk):
                raise Refused(_page_reason(chunk.decode(errors="replace")))
            file.write(chunk)
            advance(len(chunk))


def _connection_fault(url: str, part: Part, error: requests.RequestException) -> str:
    host = url.split("/")[2]
    if isinstance(error, requests.Timeout):
        return f"{host} does not answer."
    if part.size:
        return f"The connection to {host} broke off after {part.size:,} bytes."
    return f"There is no connection to {host} ({type(error).__name__}); is there a network?"


def _page_reason(page: str) -> str:
    """What a web page that came instead of the file seems to say."""
    text = page.lower()
    if "quota" in text:
        return (
            "the server says that this file was fetched too often lately (quota exceeded); try again in a "
            "day, or in a browser that is signed in."
        )
    if "virus" in text or "download-form" in text:
        return (
            "the server asks for a confirmation, as it does not scan large files for viruses; a browser can "
            "give it."
        )
    title = re.search(r"<title[^>]*>\s*(.*?)\s*</title>", page, re.DOTALL | re.IGNORECASE)
    named = f" (its title: {' '.join(title.group(1).split())[:80]})" if title else ""
    return f"the server answered with a web page instead of the file{named}."
