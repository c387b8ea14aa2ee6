"""``ovseg`` whose training process kills itself; and what a training run needs on disk.

TRAIN_DIE=5   before the sixth iteration, as by kill -9
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from helpers.dataset_files import put_map, put_picture
from helpers.tiny_configs import write_tiny_fcclip
from ovseg.cli.main import main

PICTURES = 5
QUICK = (
    "model=tiny_fcclip",
    "model.weights=random",
    "dataset=folder",
    "runtime.device=cpu",
    "runtime.precision=fp32",
    "runtime.workers=0",
    "training.crop=64",
    "training.options.points=64",
    "training.log_every=1",
    "training.loggers=[]",
    "training.evaluate_every=0",
    "training.learning_rate=1e-3",
)
"""Words after ``ovseg train`` that make a run short."""


def write_run(folder: Path) -> Path:
    """A tiny FC-CLIP in ``conf`` and a data set in ``data``: one to five boxes of two classes on a third."""
    write_tiny_fcclip(folder / "conf")
    data = folder / "data"
    for number in range(PICTURES):
        size = (48 + 8 * number, 72)
        labels = np.full(size, 2)
        for box in range(number + 1):
            labels[8 * box : 8 * box + 6, 10 * box : 10 * box + 8] = box % 2
        labels[:, -4:] = 255
        put_picture(data / "images" / f"{number}.png", size, seed=number)
        put_map(data / "labels" / f"{number}.png", labels)
    (data / "classes.txt").write_text("dog|puppy\ncat\nstuff:grass\n")
    return folder


def words(folder: Path, *more: str) -> list[str]:
    """What is typed after ``ovseg`` for a run on `write_run`'s files."""
    return ["train", "--config-dir", str(folder / "conf"), f"dataset.root={folder / 'data'}", *QUICK, *more]


def die_before(iteration: int) -> None:
    """Let this process kill itself before an iteration, counted from 0."""
    from ovseg.run.training.engine import Engine

    step = Engine.step

    def last(self, number, parts):
        if number == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, number, parts)

    Engine.step = last


if __name__ == "__main__":
    if "TRAIN_DIE" in os.environ:
        die_before(int(os.environ["TRAIN_DIE"]))
    sys.exit(main())
