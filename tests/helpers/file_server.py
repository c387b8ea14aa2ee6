"""A local HTTP server that serves files honestly, or misbehaves for as many requests as it is told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reaction = Callable[["_Handler", bytes], None]


@dataclass
class FileServer:
    """What is served, how the next requests are answered, and what was asked.

    Attributes:
        files: path -> content.
        reactions: used up one per request; an honest answer once there are none.
        ranges: the Range header of each request, None without one.
        sent: body bytes sent in each request.
        headers: extra headers of honest answers.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    reactions: list[Reaction] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    server_state: FileServer

    def do_GET(self) -> None:
        state = self.server_state
        state.ranges.append(self.headers["Range"])
        state.sent.append(0)
        self.index = len(state.sent) - 1
        content = state.files.get(self.path)
        if content is None:
            self.answer(404, b"no such file")
        elif state.reactions:
            state.reactions.pop(0)(self, content)
        else:
            honest(self, content)

    def answer(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
        """Send a body; `length` is what the header says of it, and the connection is closed after it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        for name, value in {**self.server_state.headers, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.server_state.sent[self.index] = len(body)  # before: the client may be done when write returns
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def honest(handler: _Handler, content: bytes) -> None:
    """The file, or the part of it that was asked for."""
    asked = handler.headers["Range"]
    tag = handler.server_state.headers.get("ETag")
    if asked is None or handler.headers.get("If-Range", tag) != tag:
        handler.answer(200, content)
        return
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        handler.answer(416, b"", Content_Range=f"bytes */{len(content)}")
    else:
        end = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206, content[start:], Content_Range=end)


def without_ranges(handler: _Handler, content: bytes) -> None:
    """The whole file, whatever was asked for."""
    handler.answer(200, content)


def cut_after(count: int) -> Reaction:
    """Close the connection after so many bytes of what was asked for."""

    def react(handler: _Handler, content: bytes) -> None:
        asked = handler.headers["Range"]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers = {"Content_Range": span} if asked else {}
        length = len(content) - start
        handler.answer(206 if asked else 200, content[start : start + count], length=length, **headers)

    return react


def lie_about_length(difference: int) -> Reaction:
    """The whole file with a Content-Length that is off by so much."""

    def react(handler: _Handler, content: bytes) -> None:
        handler.answer(200, content, length=len(content) + difference)

    return react


def say(status: int, body: bytes = b"", **headers: str) -> Reaction:
    """Answer with this instead of the file."""

    def react(handler: _Handler, content: bytes) -> None:
        handler.answer(status, body, **headers)

    return react


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server on a free port of this machine for the time of the block."""
    state = FileServer()
    handler = type("Handler", (_Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
