"""``ovseg`` with the fake method as ``model=fake``, for tests that need processes of their own.

FAKE_DIE=2,1   the process with rank 2 kills itself when it has predicted one picture
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.fake_method import FakeMethod
from ovseg.cli.main import main
from ovseg.registry import METHODS


class CommandLineMethod(FakeMethod):
    """The fake method with a constructor that a config can fill, trained on cats."""

    training_names = ("cat",)
    templates = ("a {}",)

    def __init__(self, *, shade: int = 1) -> None:
        super().__init__()
        self.shade = shade

    def predict_batch(self, images, vocabulary, *, tasks):
        rank, _, count = os.environ.get("FAKE_DIE", "").partition(",")
        if rank == os.environ.get("RANK", "0") and len(self.batches) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_batch(images, vocabulary, tasks=tasks)

    def load_weights(self, path): ...

    def prepare(self, *, device, precision): ...


def write_fake(folder: Path) -> Path:
    """The config of ``model=fake``; gives its folder."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "fake.yaml").write_text("name: fake\nweights: random\nshade: 1\n")
    return folder


if __name__ == "__main__":
    METHODS.register("fake", CommandLineMethod)
    sys.exit(main())
