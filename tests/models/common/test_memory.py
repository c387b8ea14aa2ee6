"""Freed memory goes back where the system can be asked, and nothing happens elsewhere."""

import pytest

from ovseg.models.common import memory
from ovseg.models.common.memory import release_freed_memory


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
