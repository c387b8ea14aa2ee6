"""What a check says."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        level: ``ok``, ``note`` (nothing is broken, but one should know) or ``fault`` (something cannot work).
        text: what was found.
        remedy: what to do about a fault or a note; empty where nothing need be done.
    """

    level: Level
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    """All is well with something."""
    return Finding("ok", text)


def note(text: str, remedy: str = "") -> Finding:
    """Something to know."""
    return Finding("note", text, remedy)


def fault(text: str, remedy: str) -> Finding:
    """Something that cannot work, and what to do."""
    return Finding("fault", text, remedy)
