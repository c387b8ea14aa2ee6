"""Freed memory goes back where the system can be asked, and nothing happens elsewhere."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ovseg.models.common import memory
from ovseg.models.common.memory import leave_file, release_freed_memory


def test_everything_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(memory, "_trim", lambda: kept.append)
    release_freed_memory()
    assert kept == [0], "0 is the number of bytes to keep"


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    memory._trim.cache_clear()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory._trim() is None
    release_freed_memory()
    memory._trim.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_module_that_left_its_file_lets_go_of_it(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(nn.Linear(64, 64).state_dict(), file)
    module = nn.Linear(64, 64)
    module.load_state_dict(torch.load(file, mmap=True, weights_only=True), assign=True)
    before = module(torch.ones(1, 64))
    assert str(file) in Path("/proc/self/maps").read_text()
    leave_file(module)
    assert str(file) not in Path("/proc/self/maps").read_text()
    assert torch.equal(module(torch.ones(1, 64)), before)
    assert module.weight.requires_grad
