"""What evaluators must know of the data set: the run provides it, so that it is in no config."""

from dataclasses import dataclass

from ovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Subject:
    """The classes that numbers are about.

    Attributes:
        vocabulary: the data set's classes, which labels of truth and predictions index.
        is_seen: per class, whether one of its names was a training name (FC-CLIP's rule). For a method
            without training those are the data set's own, or none, which makes all False.
    """

    vocabulary: Vocabulary
    is_seen: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.is_seen) != len(self.vocabulary):
            raise ValueError(f"is_seen has {len(self.is_seen)} entries for {len(self.vocabulary)} classes.")
