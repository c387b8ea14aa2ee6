"""Training: where the time of an iteration goes, and whether a small FC-CLIP learns a few pictures by heart.

    python benchmarks/training.py overfit COCO_FOLDER --iterations 400
    python benchmarks/training.py loader COCO_FOLDER --workers 2        pictures a second, by themselves
    python benchmarks/training.py stages --full --repeats 1      the full model, one crop of 1024 x 1024
    python benchmarks/speed.py training                          the small model
    python benchmarks/speed.py training --device cuda            the full one, two crops of 1024 x 1024

The small model is the golden tests' ConvNeXt-T with small decoders; all weights are drawn, frozen ones too.
"""

import argparse
import csv
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import PIL.Image
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from golden.scene import scene  # noqa: E402
from helpers.dataset_files import put_map  # noqa: E402
from helpers.tiny_fcclip import read_golden  # noqa: E402
from timing import timed  # noqa: E402

from ovseg.config import compose_config, strict  # noqa: E402
from ovseg.data.coco import COCOPanoptic  # noqa: E402
from ovseg.data.training.loader import training_loader  # noqa: E402
from ovseg.models.fcclip import criterion  # noqa: E402
from ovseg.models.fcclip.criterion import Criterion  # noqa: E402
from ovseg.models.fcclip.training import FCCLIPTraining  # noqa: E402
from ovseg.run import declaration  # noqa: E402
from ovseg.run.processes import Processes  # noqa: E402
from ovseg.run.train import make_course  # noqa: E402
from ovseg.run.training.course import Course  # noqa: E402
from ovseg.run.training.plan import make_train_plan  # noqa: E402
from ovseg.schema import TrainConfig  # noqa: E402

SMALL = (
    "model.backbone.pretrained=null",
    "model.weights=random",
    "model.mask_generator.hidden_dim=128",
    "model.mask_generator.queries=40",
    "model.mask_generator.encoder_layers=2",
    "model.mask_generator.decoder_layers=3",
    "model.mask_generator.decoder_ffn=256",
    "model.classifier.dim=128",
)
"""Words that make FC-CLIP small, besides its backbone's architecture."""

MEMORISING = (
    "runtime.precision=fp32",
    "runtime.workers=0",
    "runtime.text_cache=false",
    "training.flip=0",
    "training.scales=[1,1]",
    "training.learning_rate=1e-3",
    "training.options.points=1024",
    "training.log_every=10",
    "training.loggers=[]",
    "training.save_every=100000",
    "evaluator=panoptic_quality",
)


def settings_of(folder: Path, *words: str) -> TrainConfig:
    """The composed config of ``ovseg train`` with a small backbone, whose architecture goes into a folder."""
    architecture = folder / "small_clip.json"
    architecture.write_text(json.dumps(read_golden("tiny").facts["clip_config"]))
    small = (f"model.backbone.architecture='{architecture}'", *SMALL)
    return strict(compose_config("train", ["model=fcclip", *small, *words]), TrainConfig)


def overfit(
    coco: Path, folder: Path, *, pictures: int, crop: int, batch_size: int, iterations: int
) -> dict[str, Any]:
    """Train on the first pictures of COCO's panoptic validation set, and evaluate on the same.

    Args:
        coco: holds ``val2017`` and ``annotations/panoptic_val2017.json``.
        folder: for the run.
        pictures: how many.
        crop: side in pixels; a picture just fits into it, in training as in evaluation.
        batch_size: pictures per iteration.
        iterations: of the training.
    """
    names = sorted(path.stem for path in (coco / "val2017").glob("*.jpg"))[:pictures]
    (folder / "few.txt").write_text("\n".join(names))
    settings = settings_of(
        folder,
        *MEMORISING,
        "dataset=folder",
        f"dataset.root='{folder}'",
        f"dataset.images='{(coco / 'val2017').resolve()}'",
        f"dataset.panoptic='{(coco / 'annotations' / 'panoptic_val2017.json').resolve()}'",
        "dataset.labels=null",
        "dataset.classes=null",  # those of the JSON file
        "dataset.split=few",
        "split=few",
        f"model.short_side={crop}",
        f"model.long_side={crop}",
        f"training.crop={crop}",
        f"training.batch_size={batch_size}",
        f"training.iterations={iterations}",
        f"training.evaluate_every={iterations}",
    )
    course = course_of(settings, folder / "run")
    assert course.examiner is not None
    course.engine.module.train()
    before = course.examiner.scores(0)
    start = time.perf_counter()
    course.run()
    seconds = time.perf_counter() - start
    with (folder / "run" / "log.csv").open() as file:
        losses = {int(row["iteration"]): round(float(row["loss"]), 3) for row in csv.DictReader(file)}
    marks = sorted({1, 2, 5, 10, 20, 30, iterations // 10} & {row // 10 for row in losses}) or [1]
    return {
        "pictures": len(names),
        "crop": crop,
        "batch_size": batch_size,
        "iterations": iterations,
        "seconds": round(seconds, 1),
        "loss": {mark * 10: losses[mark * 10] for mark in marks},
        "before": _headlines(before),
        "after": _headlines(course.examiner.scores(iterations)),
    }


def load(coco: Path, *, workers: int, batches: int, crop: int = 1024, batch_size: int = 2) -> dict[str, Any]:
    """Pictures a second of the official recipe's loader with nothing but a reader, after a first pass.

    The processors' seconds per picture, of the reader and its workers from their start to their end, hold on
    a busy machine too.

    Args:
        coco: as in `overfit`.
        workers: processes that prepare pictures.
        batches: that are counted.
        crop: side in pixels.
        batch_size: pictures per batch.
    """
    loader = training_loader(
        COCOPanoptic(root=coco), batch_size=batch_size, crop=(crop, crop), workers=workers, prefetch=2
    )
    before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    stream = iter(loader)
    for _ in range(2 * workers * 2 + 2):  # what was read ahead while nobody asked
        next(stream)
    start = time.perf_counter()
    for _ in range(batches):
        next(stream)
    seconds = time.perf_counter() - start
    made = loader.position * batch_size
    del stream, loader  # workers end, and only then tell their time
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "workers": workers,
        "crop": crop,
        "pictures": batches * batch_size,
        "seconds": round(seconds, 2),
        "pictures_per_second": round(batches * batch_size / seconds, 1),
        "processor_seconds_per_picture": round((spent - before) / made, 4),
    }


STAGES = ("data", "forward", "losses", "matching", "points", "backward", "step")
"""Of an iteration. Matching, with its point sampling, and the drawing and choosing of the losses' points are
parts of the losses, which are none of forward."""


def measure(*, device: str, repeats: int, precision: str | None = None, full: bool = False) -> dict[str, Any]:
    """Seconds of an iteration and of its stages, medians after two iterations that are not counted.

    On a CPU the small model with two crops of 256 x 256; on a GPU the full one with two of 1024 x 1024, which
    is the official share of one of eight. Pictures are drawn, 480 x 640, with about ten regions each.

    Args:
        device: cpu, or cuda.
        repeats: iterations that are counted.
        precision: of the autocast; None is fp32 on a CPU and fp16 on a GPU.
        full: on a CPU too the full model, with one crop, and layers' inner values computed again.
    """
    small = device == "cpu" and not full
    with tempfile.TemporaryDirectory() as folder:
        root = _drawn_data(Path(folder))
        words = (
            f"runtime.precision={precision or ('fp32' if device == 'cpu' else 'fp16')}",
            f"runtime.workers={0 if device == 'cpu' else 4}",
            "runtime.text_cache=false",
            "dataset=folder",
            f"dataset.root='{root}'",
            "training.evaluate_every=0",
            f"training.batch_size={1 if full else 2}",
            f"training.recompute={str(full).lower()}",
            f"training.crop={256 if small else 1024}",
        )
        random = ("model.backbone.pretrained=null", "model.weights=random")
        settings = (
            settings_of(root, *words)
            if small
            else strict(compose_config("train", ["model=fcclip", *random, *words]), TrainConfig)
        )
        return _measured(course_of(settings, root / "run", device), repeats, warm_up=0 if full else 2)


def _measured(course: Course, repeats: int, warm_up: int) -> dict[str, Any]:
    batches, rows = iter(course.loader), []
    for iteration in range(repeats + warm_up):
        with _timers(course.engine.device) as seconds:
            start = time.perf_counter()
            batch = next(batches)
            seconds["data"] = time.perf_counter() - start
            course.engine.step(iteration, [batch])
            seconds["total"] = time.perf_counter() - start
        seconds["step"] = seconds["total"] - sum(
            seconds[key] for key in ("data", "forward", "losses", "backward")
        )
        rows.append(seconds)
    median = {key: statistics.median(row[key] for row in rows[warm_up:]) for key in ("total", *STAGES)}
    return {
        "crop": list(batch.images.shape[1:3]),
        "pictures": len(batch.images),
        "targets": sum(len(target.labels) for target in batch.targets),
        "seconds": {key: round(value, 4) for key, value in median.items()},
        "share": {key: round(median[key] / median["total"], 3) for key in STAGES},
        "peak_gb": round(declaration.peak_gb(str(course.engine.device)), 2),
    }


@contextmanager
def _timers(device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds of the calls inside the block, by stage."""
    seconds = dict.fromkeys(STAGES, 0.0)

    def watched(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            taken, result = timed(lambda: call(*arguments, **more), device)
            seconds[stage] += taken
            return result

        return run

    places = (
        ("forward", FCCLIPTraining, "layers"),
        ("losses", Criterion, "__call__"),
        ("matching", Criterion, "_match"),
        ("points", criterion, "draw_points"),
        ("points", criterion, "loss_points"),
        ("backward", torch.Tensor, "backward"),
    )
    with ExitStack() as patched:
        for stage, owner, attribute in places:
            call = watched(stage, getattr(owner, attribute))
            patched.enter_context(patch.object(owner, attribute, call))
        yield seconds


def _drawn_data(root: Path) -> Path:
    """Eight pictures of the golden tests' scenes; a region is a tenth of the range of its brightness."""
    (root / "classes.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    for number in range(8):
        picture = scene(480, 640, number)
        put_map(root / "labels" / f"{number}.png", np.minimum(picture.mean(-1) // 25.6, 9))
        path = root / "images" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(picture).save(path)
    return root


def course_of(settings: TrainConfig, folder: Path, device: str = "cpu") -> Course:
    """A run as ``ovseg train`` makes it, without its folder's bookkeeping."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_train_plan(settings, Processes())
    return make_course(settings, plan, folder, Processes(), torch.device(device))


def _headlines(scores: dict[str, float]) -> dict[str, float]:
    return {
        name: round(value, 2) for name, value in scores.items() if name.split("/")[1] in ("PQ", "SQ", "RQ")
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    overfitting = commands.add_parser("overfit")
    overfitting.add_argument("coco", type=Path, help="folder with val2017 and annotations")
    overfitting.add_argument("--pictures", type=int, default=8)
    overfitting.add_argument("--crop", type=int, default=256)
    overfitting.add_argument("--batch-size", type=int, default=4)
    overfitting.add_argument("--iterations", type=int, default=400)
    loading = commands.add_parser("loader")
    loading.add_argument("coco", type=Path, help="folder with val2017 and annotations")
    loading.add_argument("--workers", type=int, default=2)
    loading.add_argument("--batches", type=int, default=100)
    stages = commands.add_parser("stages")
    stages.add_argument("--full", action="store_true", help="the full model, one crop of 1024 x 1024")
    stages.add_argument("--repeats", type=int, default=5)
    return parser


def main() -> None:
    """Run a command and print what it measured as JSON."""
    given = vars(_parser().parse_args())
    command = given.pop("command")
    torch.set_num_threads(1)
    if command == "overfit":
        with tempfile.TemporaryDirectory() as run:
            found = overfit(given.pop("coco"), Path(run), **given)
    elif command == "loader":
        found = load(given.pop("coco"), **given)
    else:
        found = measure(device="cpu", **given)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
