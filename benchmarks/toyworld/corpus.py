"""Toyworld's pictures, drawn once and kept in files, so that a training does not wait for its pictures.

Files are per part of `PART` pictures and are renamed into place when complete: a corpus that was interrupted
goes on where it stopped, and one that is asked for more pictures draws the new ones alone. A corpus knows
nothing of changes of the world: remove its folder after one.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from filelock import FileLock

from ovseg.data.toyworld.scene import Scene, Segment, draw_scene

PART = 100
Draw = Callable[..., Scene]
"""``draw_scene`` or the like: (split, index, size=) to a scene."""


class Corpus:
    """The first pictures of a split.

    Args:
        split: "captions", "train", "val" or "surprise".
        count: how many pictures.
        size: their side in pixels.
        folder: where the files are; one folder for each split and size is made in it.
        processes: that draw what is lacking.
        draw: what draws.
    """

    def __init__(
        self,
        split: str,
        count: int,
        size: int,
        folder: Path | str,
        *,
        processes: int = 2,
        draw: Draw = draw_scene,
    ) -> None:
        self._count = count
        self._folder = Path(folder) / f"{split}-{size}"
        parts = range(-(-count // PART))
        self._draw_lacking(partial(_draw_part, draw, split, size, self._folder), parts, processes)
        self._images = [np.load(self._folder / f"images-{part:04d}.npy", mmap_mode="r") for part in parts]
        self._ids = [np.load(self._folder / f"ids-{part:04d}.npy", mmap_mode="r") for part in parts]
        self._segments = [json.loads(_segments_file(self._folder, part).read_text()) for part in parts]

    def __len__(self) -> int:
        """How many pictures."""
        return self._count

    def image(self, index: int) -> np.ndarray:
        """RGB, uint8 (size, size, 3), read-only."""
        return self._images[index // PART][index % PART]

    def ids(self, index: int) -> np.ndarray:
        """The segment of each pixel, uint8 (size, size), read-only."""
        return self._ids[index // PART][index % PART]

    def segments(self, index: int) -> tuple[Segment, ...]:
        """What is in the picture, as ``Scene.segments``."""
        rows = self._segments[index // PART][index % PART]
        return tuple(Segment(key, label, is_thing, tuple(box)) for key, label, is_thing, box in rows)

    def _draw_lacking(self, draw_part: Callable[[int], None], parts: range, processes: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / "lock"):
            lacking = [part for part in parts if not _segments_file(self._folder, part).exists()]
            if len(lacking) <= 1 or processes == 1:
                for part in lacking:
                    draw_part(part)
                return
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                list(pool.map(draw_part, lacking))


def _segments_file(folder: Path, part: int) -> Path:
    """The last file of a part to be written: where it is, the part is complete."""
    return folder / f"segments-{part:04d}.json"


def _draw_part(draw: Draw, split: str, size: int, folder: Path, part: int) -> None:
    scenes = [draw(split, index, size=size) for index in range(part * PART, (part + 1) * PART)]
    _save(folder / f"images-{part:04d}.npy", np.stack([scene.image for scene in scenes]))
    _save(folder / f"ids-{part:04d}.npy", np.stack([scene.ids for scene in scenes]).astype(np.uint8))
    rows = [
        [[int(s.id), s.name, bool(s.is_thing), [int(edge) for edge in s.box]] for s in scene.segments]
        for scene in scenes
    ]
    path = _segments_file(folder, part)
    path.with_suffix(".tmp").write_text(json.dumps(rows))
    os.replace(path.with_suffix(".tmp"), path)


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path.with_suffix(".tmp.npy"), array)
    os.replace(path.with_suffix(".tmp.npy"), path)
