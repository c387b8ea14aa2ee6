"""What a prediction run says of itself at the end."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Failure:
    """A picture that was skipped, and why, in words for the user."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class PredictSummary:
    """The outcome of a run; as a string, the lines for the user.

    Attributes:
        output: the folder with the results.
        done: pictures that were predicted now.
        resumed: pictures that earlier runs had finished.
        failed: pictures that were skipped.
        seconds: that the run took.
        seconds_per_picture: that the method took on average for the pictures done now; None without any.
    """

    output: Path
    done: int
    resumed: int
    failed: tuple[Failure, ...]
    seconds: float
    seconds_per_picture: float | None

    @property
    def exit_code(self) -> int:
        """0, or 1 if a picture failed."""
        return 1 if self.failed else 0

    def __str__(self) -> str:
        line = f"{self.done} {_pictures(self.done)} predicted in {self.seconds:.1f} s"
        if self.seconds_per_picture is not None:
            line += f" ({self.seconds_per_picture:.2f} s each in the method)"
        if self.resumed:
            line += f", {self.resumed} finished before"
        lines = [f"{line}, results in {self.output}"]
        if self.failed:
            count = len(self.failed)
            lines.append(f"{count} {_pictures(count)} failed:")
            lines += [f"  {failure}" for failure in self.failed]
        return "\n".join(lines)


def _pictures(count: int) -> str:
    return "picture" if count == 1 else "pictures"
