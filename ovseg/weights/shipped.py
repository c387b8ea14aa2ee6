"""Weights and architectures that come inside the package and need no network. Needs no torch."""

from pathlib import Path

FOLDER = Path(__file__).with_suffix("")
"""Where they lie: the folder beside this file."""


def architecture_file(name: str) -> Path | None:
    """The JSON file of an architecture that comes with ovseg; None if there is none of this name.

    Args:
        name: without folder and suffix, such as ``toyworld_sam``.
    """
    file = FOLDER / f"{name}.json"
    # A name with a folder in it is somebody's own path.
    return file if "/" not in name and file.is_file() else None
