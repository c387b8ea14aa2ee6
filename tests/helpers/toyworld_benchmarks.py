"""What the tests of toyworld's trainings share: the way to the scripts, and pictures that cost nothing."""

import sys
from pathlib import Path

import numpy as np

from ovseg.data.toyworld.scene import Segment

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "toyworld"


def find_scripts() -> None:
    """Let scripts import each other, as they do when they are run."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))


class NoisyCorpus:
    """Two kinds of stuff, one above the other, and a square thing, in noise; has what a `Corpus` has."""

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size

    def __len__(self) -> int:
        return self._count

    def ids(self, index: int) -> np.ndarray:
        ids = np.ones((self._size, self._size), np.uint8)
        ids[self._size // 2 :] = 2
        third = self._size // 3
        ids[third : 2 * third, index + third : index + 2 * third] = 3
        return ids

    def image(self, index: int) -> np.ndarray:
        noise = np.random.RandomState(index).randint(0, 60, (self._size, self._size, 3))
        return (noise + 60 * self.ids(index)[..., None]).astype(np.uint8)

    def segments(self, index: int) -> tuple[Segment, ...]:
        size, third = self._size, self._size // 3
        box = (index + third, third, index + 2 * third, 2 * third)
        return (
            Segment(1, "sky", False, (0, 0, size, size // 2)),
            Segment(2, "lava", False, (0, size // 2, size, size)),
            Segment(3, "blue fish", True, box),
        )
