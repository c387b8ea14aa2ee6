"""Downloads against a server on this machine that breaks off, lies, refuses, or serves something else."""

import hashlib
import json
import logging
import random
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.file_server import cut_after, file_server, honest, lie_about_length, say, without_ranges

from ovseg.errors import WeightsError
from ovseg.weights.download import download
from ovseg.weights.fetch import fetch
from ovseg.weights.zoo import Entry, Remote

SIZE = 300_000


def safetensors(seed: int = 0, size: int = SIZE) -> bytes:
    """A whole safetensors file of so many bytes."""
    length = 120
    span = [0, size - 8 - length]
    header = json.dumps({"a": {"dtype": "U8", "shape": [span[1]], "data_offsets": span}})
    return (
        length.to_bytes(8, "little") + header.ljust(length).encode() + random.Random(seed).randbytes(span[1])
    )


CONTENT = safetensors()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with file_server() as running:
        running.files["/w.safetensors"] = CONTENT
        yield running


def entry(server, *, size=None, sha256=None, page=None) -> Entry:
    remote = Remote(f"{server.url}/w.safetensors", "w.safetensors", page, size, sha256)
    return Entry("some", "weights for a test", (remote,), "CC0", "here")


def get(server, folder: Path, *, pauses=(0.0, 0.0), **known) -> Path:
    return download(entry(server, **known), folder, progress=False, pauses=pauses)


def refused(server, folder: Path, **options) -> str:
    with pytest.raises(WeightsError) as error:
        get(server, folder, **options)
    assert not (folder / "w.safetensors").exists()
    return str(error.value)


def test_a_plain_download(server, tmp_path):
    path = get(server, tmp_path / "a" / "b", size=SIZE, sha256=SHA256)
    assert path == tmp_path / "a" / "b" / "w.safetensors"
    assert path.read_bytes() == CONTENT
    assert {file.name for file in path.parent.iterdir()} <= {"w.safetensors", "w.safetensors.lock"}


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("tag", [None, '"v1"'])
def test_a_broken_connection_is_gone_on_with(server, tmp_path, tag):
    server.headers = {"ETag": tag} if tag else {}
    server.reactions = [cut_after(200_000), cut_after(50_000)]
    path = get(server, tmp_path)
    assert path.read_bytes() == CONTENT
    first = int(server.ranges[1].removeprefix("bytes=").removesuffix("-"))
    second = int(server.ranges[2].removeprefix("bytes=").removesuffix("-"))
    assert 100_000 < first <= 200_000, "at most a chunk may be lost"
    assert first <= second <= first + 50_000
    assert server.sent[2] == SIZE - second


def test_a_killed_download_is_gone_on_with_by_the_next_process(server, tmp_path):
    (tmp_path / "w.safetensors.part").write_bytes(CONTENT[:250_000])
    assert get(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges == ["bytes=250000-"]
    assert server.sent == [50_000]


def test_a_part_that_is_already_whole(server, tmp_path):
    (tmp_path / "w.safetensors.part").write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == [0]


def test_a_part_that_is_too_long_is_fetched_anew(server, tmp_path):
    (tmp_path / "w.safetensors.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={SIZE + 4}-", None]


def test_a_part_of_a_file_that_changed_is_fetched_anew(server, tmp_path):
    server.headers = {"ETag": '"old"'}
    server.reactions = [cut_after(200_000)]
    refused(server, tmp_path, pauses=())
    server.headers = {"ETag": '"new"'}
    server.files["/w.safetensors"] = safetensors(seed=1)
    assert get(server, tmp_path).read_bytes() == safetensors(seed=1)


def test_a_part_of_a_file_that_changed_without_a_tag_is_found_by_the_digest(server, tmp_path, caplog):
    (tmp_path / "w.safetensors.part").write_bytes(safetensors(seed=1)[:200_000])
    assert get(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges == ["bytes=200000-", None]
    assert "Fetching it once more from the start" in caplog.text


def test_a_server_that_ignores_ranges(server, tmp_path):
    server.reactions = [cut_after(200_000), without_ranges]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.sent[1] == SIZE


def test_a_server_that_goes_on_from_elsewhere(server, tmp_path):
    server.reactions = [cut_after(200_000), say(206, CONTENT[5:], Content_Range=f"bytes 5-{SIZE - 1}/{SIZE}")]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_says_how_far_it_came(server, tmp_path):
    server.reactions = [cut_after(200_000)] + [cut_after(0)] * 9
    text = refused(server, tmp_path)
    kept = (tmp_path / "w.safetensors.part").stat().st_size
    assert f"broke off after {kept:,} " in text
    assert f"{kept:,} bytes are kept, and the next try goes on from there." in text
    assert len(server.ranges) == 3, "two more tries after the last one that brought bytes"


def test_a_length_that_is_too_long(server, tmp_path):
    server.reactions = [lie_about_length(+1000)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    server.reactions = [lie_about_length(+1000)] * 9
    assert "The connection to 127.0.0.1" in refused(server, tmp_path / "always")


def test_a_length_that_is_too_short(server, tmp_path):
    server.reactions = [lie_about_length(-1000)] * 2
    text = refused(server, tmp_path)
    assert f"what the server sent ({SIZE - 1000:,} bytes) is cut off or is no weights file." in text
    assert "fetched twice" in text
    server.reactions = [lie_about_length(-1000)]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_file_of_another_size_than_is_published(server, tmp_path):
    text = refused(server, tmp_path, size=SIZE + 7)
    assert f"the file has {SIZE:,} bytes where {SIZE + 7:,} are published." in text
    assert not (tmp_path / "w.safetensors.part").exists()


def test_a_file_with_another_digest_than_is_published(server, tmp_path):
    text = refused(server, tmp_path, sha256="f" * 64)
    assert f"the file has the SHA-256 {SHA256[:12]}... where ffffffffffff... is published." in text
    assert not (tmp_path / "w.safetensors.part").exists()


def test_the_digest_that_the_hub_states_on_the_way_is_checked(server, tmp_path):
    server.files["/start"] = b""
    hub = Entry("hub", "", (Remote(f"{server.url}/start", "w.safetensors"),), "", "")
    server.reactions = [say(302, Location=f"{server.url}/w.safetensors", X_Linked_ETag=f'"{SHA256}"')]
    assert download(hub, tmp_path, progress=False).read_bytes() == CONTENT
    wrong = say(302, Location=f"{server.url}/w.safetensors", X_Linked_ETag='"' + "e" * 64 + '"')
    server.reactions = [wrong, honest, wrong, honest]
    with pytest.raises(WeightsError, match=r"where eeeeeeeeeeee\.\.\. is published"):
        download(hub, tmp_path / "other", progress=False)


PAGES = {
    "quota": (
        b"<html><title>Google Drive - Quota exceeded</title>",
        "fetched too often lately (quota exceeded)",
    ),
    "form": (b'<!DOCTYPE html><form id="download-form">Virus scan warning</form>', "asks for a confirmation"),
    "other": (b"<html><title>\n Welcome  to the hotel </title>", "(its title: Welcome to the hotel)"),
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_instead_of_the_file(server, tmp_path, page, kind):
    body, says = PAGES[page]
    server.reactions = [say(200, body, Content_Type=kind)]
    text = refused(server, tmp_path, page="https://example.org/view")
    assert says in text
    assert "To fetch it by hand, open https://example.org/view\n" in text
    assert f"and put the file at {tmp_path / 'w.safetensors'}\n" in text
    assert len(server.ranges) == 1, "a page is not asked for again"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final(server, tmp_path, status):
    server.reactions = [say(status)]
    text = refused(server, tmp_path)
    assert f"'some' could not be downloaded: the server refuses (it says {status} " in text
    assert f"To fetch it by hand, open {server.url}/w.safetensors\n" in text
    assert "set OVSEG_MIRROR to a folder or a server that holds w.safetensors." in text
    assert len(server.ranges) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_waited_out(server, tmp_path, status):
    server.reactions = [say(status)] * 2
    assert get(server, tmp_path).read_bytes() == CONTENT
    server.reactions = [say(status)] * 3
    assert f"The server is not ready (it says {status} " in refused(server, tmp_path / "other")


def test_the_next_remote_is_taken_only_where_the_first_is_not_there(server, tmp_path):
    server.files["/w.bin"] = CONTENT
    both = Entry(
        "both", "", (Remote(f"{server.url}/none", "w.safe"), Remote(f"{server.url}/w.bin", "w.bin")), "", ""
    )
    assert download(both, tmp_path, progress=False) == tmp_path / "w.bin"
    del server.files["/w.bin"]
    with pytest.raises(WeightsError, match=r"the server has no such file \(it says 404") as error:
        download(both, tmp_path / "other", progress=False)
    assert "w.safe" in str(error.value)


def test_no_network(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    remote = Remote(f"http://127.0.0.1:{port}/w", "w.pth", page="https://example.org/view")
    with pytest.raises(WeightsError) as error:
        download(Entry("some", "", (remote,), "", ""), tmp_path, progress=False, pauses=(0.0,))
    assert str(error.value) == (
        f"'some' could not be downloaded: There is no connection to 127.0.0.1:{port} (ConnectionError); "
        "is there a network?\n"
        "To fetch it by hand, open https://example.org/view\n"
        f"and put the file at {tmp_path / 'w.pth'}\n"
        "Where there is no network, set OVSEG_MIRROR to a folder or a server that holds w.pth."
    )


def test_an_address_that_is_none(tmp_path):
    broken = Entry("some", "", (Remote("http://", "w.pth"),), "", "")
    with pytest.raises(WeightsError, match="http:// cannot be asked for"):
        download(broken, tmp_path, progress=False)


def test_a_disk_without_room(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 0, 1000))
    text = refused(server, tmp_path)
    assert f"{SIZE:,} bytes are still to come, and the disk of {tmp_path} has 1,000 free." in text
    assert "set OVSEG_CACHE to a folder on another disk" in text


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        WeightsError, match=r"The folder for weights, .* cannot be written: .*Set OVSEG_CACHE"
    ):
        get(server, tmp_path / "file" / "sub")


def test_a_fetch_that_another_process_is_at_is_waited_for(server, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    tmp_path.mkdir(exist_ok=True)

    @contextmanager
    def released_when_said():
        lock = FileLock(tmp_path / "w.safetensors.lock", thread_local=False)
        lock.acquire()

        class Release(logging.Handler):
            def emit(self, record):
                if "Another process" in record.getMessage():
                    (tmp_path / "w.safetensors").write_bytes(CONTENT)
                    lock.release()

        handler = Release()
        logger = logging.getLogger("ovseg.weights.download")
        logger.addHandler(handler)
        yield
        logger.removeHandler(handler)

    with released_when_said():
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert "Another process is downloading w.safetensors" in caplog.text
    assert server.ranges == [], "what the other process fetched is used"


FETCH = "import sys; from ovseg.weights.fetch import fetch; print(fetch('fcclip', progress=False))"


def test_two_processes_at_once_fetch_once(server, tmp_path, monkeypatch):
    server.files["/mirror/fcclip.pth"] = CONTENT
    monkeypatch.setenv("OVSEG_MIRROR", f"{server.url}/mirror/")
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path))
    runs = [
        subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [run.communicate(timeout=60)[0].strip() for run in runs]
    assert outputs == [str(tmp_path / "weights" / "fcclip.pth")] * 2
    assert server.sent == [SIZE]


def test_a_mirror_is_asked_instead_of_the_publisher(server, tmp_path, monkeypatch):
    server.files["/m/RN50.openai.bin"] = CONTENT
    monkeypatch.setenv("OVSEG_MIRROR", f"{server.url}/m")
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path))
    assert fetch("RN50:openai", progress=False) == tmp_path / "weights" / "RN50.openai.bin"
    with pytest.raises(WeightsError) as error:
        fetch("fcclip_r50", progress=False)
    assert f"To fetch it by hand, open {server.url}/m/fcclip_r50.pth\n" in str(error.value)
    assert str(tmp_path / "weights" / "fcclip_r50.pth") in str(error.value)


def test_a_long_download_says_how_far_it_is(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("ovseg.progress.FIRST_LINE_AFTER", 0.0)
    download(entry(server), tmp_path)
    assert "Downloading some: 300.0 kB/300.0 kB (100 %)" in capfd.readouterr().err
