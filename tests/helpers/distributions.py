"""Packages that look installed: a folder on the path with modules and the metadata that pip would write."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import ovseg.plugins


def pretend_installed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    files: Mapping[str, str] | None = None,
    summary: str = "",
) -> None:
    """Make a distribution visible for the rest of the test.

    Args:
        folder: to write it to; several distributions may share one.
        monkeypatch: undoes it.
        name: of the distribution.
        entry_points: group -> name -> value.
        files: path below `folder` -> text.
        summary: its one-line description.
    """
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    metadata.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: {summary}\n"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{point} = {value}\n" for point, value in points.items())
        for group, points in entry_points.items()
    ]
    metadata.joinpath("entry_points.txt").write_text("\n".join(groups))
    for path, text in (files or {}).items():
        folder.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        folder.joinpath(path).write_text(text)
    monkeypatch.syspath_prepend(folder)
    uncached = getattr(ovseg.plugins._entry_points, "__wrapped__", ovseg.plugins._entry_points)
    monkeypatch.setattr(ovseg.plugins, "_entry_points", uncached)
