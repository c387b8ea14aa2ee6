"""The cache of text embeddings: what it keeps, and what it survives."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ovseg.models.common import text_cache
from ovseg.models.common.text_cache import TextCache

TEMPLATES = ("a {}.", "the {}")


class Computer:
    """Rows that tell their name, and a count of who was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, names):
        self.asked += names
        return torch.stack([row_of(name) for name in names])


def row_of(name):
    return torch.tensor([float(len(name)), float(sum(map(ord, name))), 0.1])


def rows(cache, names, compute, *, fingerprint="f", templates=TEMPLATES):
    found = cache.rows(names, fingerprint=fingerprint, templates=templates, compute=compute)
    assert torch.equal(found, torch.stack([row_of(name) for name in names]))
    return found


def test_each_name_is_computed_once_and_kept_on_disk(tmp_path):
    compute = Computer()
    cache = TextCache(tmp_path / "new" / "folder")
    rows(cache, ["cat", "dog", "cat", "käse, 猫"], compute)
    rows(cache, ["dog"], compute)
    assert compute.asked == ["cat", "dog", "käse, 猫"]

    later = Computer()
    rows(TextCache(tmp_path / "new" / "folder"), ["käse, 猫", "cow", "cat"], later)
    assert later.asked == ["cow"]
    last = Computer()
    rows(TextCache(tmp_path / "new" / "folder"), ["cow", "dog"], last)
    assert last.asked == []
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_memory_only_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compute, cache = Computer(), TextCache(None)
    rows(cache, ["cat"], compute)
    rows(cache, ["cat"], compute)
    assert compute.asked == ["cat"]
    assert list(tmp_path.iterdir()) == []


def test_weights_and_templates_are_part_of_the_key(tmp_path):
    compute = Computer()
    keys = (("f", TEMPLATES), ("g", TEMPLATES), ("f", TEMPLATES[:1]), ("f", TEMPLATES[::-1]))
    for fingerprint, templates in keys:
        rows(TextCache(tmp_path), ["cat"], compute, fingerprint=fingerprint, templates=templates)
    assert compute.asked == ["cat"] * 4
    assert len(list(tmp_path.glob("*.npz"))) == 4


def test_a_long_list_is_one_small_file(tmp_path):
    names = [f"name {index}" for index in range(1342)]
    rows(TextCache(tmp_path), names, Computer())
    later = Computer()
    rows(TextCache(tmp_path), names, later)
    assert later.asked == []
    (file,) = tmp_path.glob("*.npz")
    assert file.stat().st_size < 100_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"<html>not found</html>",
        lambda content: content[:-400] + bytes(400),
    ],
    ids=["half", "last byte", "empty", "other", "zeros"],
)
def test_damage_is_warned_of_and_repaired(tmp_path, damage):
    rows(TextCache(tmp_path), ["cat", "dog"], Computer())
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(damage(file.read_bytes()))
    compute = Computer()
    with pytest.warns(
        UserWarning, match=r"The text embeddings in .*\.npz are damaged .*\. They are computed"
    ):
        rows(TextCache(tmp_path), ["cat", "dog"], compute)
    assert compute.asked == ["cat", "dog"]
    later = Computer()
    rows(TextCache(tmp_path), ["cat", "dog"], later)
    assert later.asked == []


def test_a_single_wrong_bit_anywhere_never_gives_wrong_rows(tmp_path):
    rows(TextCache(tmp_path), ["cat", "dog"], Computer())
    (file,) = tmp_path.glob("*.npz")
    content = file.read_bytes()
    key = '["f", "a {}.", "the {}"]'
    for bit in range(8 * len(content)):
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << bit % 8
        try:
            found = text_cache._unpack(bytes(wrong), key)
        except text_cache.DAMAGE:
            continue
        assert {name: row.tolist() for name, row in found.items()} == {
            name: row_of(name).tolist() for name in ("cat", "dog")
        }


def test_a_file_under_another_name_is_not_taken(tmp_path):
    rows(TextCache(tmp_path), ["cat"], Computer())
    (file,) = tmp_path.glob("*.npz")
    rows(TextCache(tmp_path), ["cat"], Computer(), fingerprint="g")
    (other,) = set(tmp_path.glob("*.npz")) - {file}
    other.write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match=r"are damaged \(it is of other weights or templates\)"):
        rows(TextCache(tmp_path), ["cat"], Computer(), fingerprint="g")


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    cache = TextCache(tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match=r"Cannot (read|keep) .* computed again") as caught:
        rows(cache, ["cat"], Computer())
    assert any("Set OVSEG_CACHE to a folder that can be written to." in str(one.message) for one in caught)


def test_write_that_fails_is_a_warning_and_leaves_the_old_file(tmp_path, monkeypatch):
    rows(TextCache(tmp_path), ["cat"], Computer())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match=r"Cannot keep text embeddings in .*: \[Errno 28\] No space left"):
        rows(TextCache(tmp_path), ["cat", "dog"], Computer())
    monkeypatch.undo()
    later = Computer()
    rows(TextCache(tmp_path), ["cat", "dog"], later)
    assert later.asked == ["dog"]


def test_lock_that_is_never_free_is_a_warning(tmp_path, monkeypatch):
    rows(TextCache(tmp_path), ["cat"], Computer())
    (file,) = tmp_path.glob("*.npz")
    monkeypatch.setattr(text_cache, "SECONDS_FOR_THE_LOCK", 0.05)
    taken = text_cache.FileLock(f"{file}.lock")
    with taken, pytest.warns(UserWarning, match=r"Cannot keep text embeddings in"):
        rows(TextCache(tmp_path), ["dog"], Computer())


def test_error_while_computing_leaves_nothing_half_done(tmp_path):
    def fail(names):
        raise RuntimeError("out of memory")

    cache = TextCache(tmp_path)
    with pytest.raises(RuntimeError, match="out of memory"):
        cache.rows(["cat"], fingerprint="f", templates=TEMPLATES, compute=fail)
    compute = Computer()
    rows(cache, ["cat"], compute)
    assert compute.asked == ["cat"]


PROCESS = """
import os, signal, sys, time
from pathlib import Path
import torch
from ovseg.models.common.text_cache import TextCache

directory, me, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if how == "killed":
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
(directory / f"{me}.ready").touch()
while len(list(directory.glob("*.ready"))) < int(sys.argv[4]):
    time.sleep(0.01)
for index in range(40):
    name = f"{me} {index}"
    TextCache(directory / "cache").rows(
        [name], fingerprint="f", templates=["{}"], compute=lambda names: torch.full((1, 3), float(index))
    )
"""


def start(directory, me, how, of):
    command = [sys.executable, "-W", "error", "-c", PROCESS, str(directory), me, how, str(of)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_at_once_and_one_that_is_killed(tmp_path):
    killed = start(tmp_path, "c", "killed", 3)
    writers = [start(tmp_path, me, "whole", 3) for me in ("a", "b")]
    for writer in writers:
        assert writer.wait(timeout=120) == 0, writer.stderr.read()
    assert killed.wait(timeout=120) == -9
    for process in (*writers, killed):
        process.stderr.close()

    def nothing_to_compute(names):
        raise AssertionError(f"lost: {names}")

    names = [f"{me} {index}" for me in ("a", "b") for index in range(40)]
    found = TextCache(tmp_path / "cache").rows(
        names, fingerprint="f", templates=["{}"], compute=nothing_to_compute
    )
    np.testing.assert_array_equal(found[:, 0].numpy(), [*range(40), *range(40)])
