"""One run of ``ovseg train``, from its plan to its files; see `ovseg.run.training`."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from ovseg.data.training.loader import TrainingLoader, training_loader
from ovseg.errors import ConfigError
from ovseg.interfaces import Precision, Trainable
from ovseg.report.files import output_error
from ovseg.run.load import find_device
from ovseg.run.measuring import default_workers
from ovseg.run.opened_run import opened_run
from ovseg.run.processes import Processes, joined
from ovseg.run.training import checkpoints, evaluation, log
from ovseg.run.training.checkpoints import write_durably
from ovseg.run.training.course import Course
from ovseg.run.training.engine import Engine, deterministic
from ovseg.run.training.evaluation import Examiner
from ovseg.run.training.loading import load_for_training, own_memory
from ovseg.run.training.plan import TrainPlan
from ovseg.run.training.schedule import Schedule
from ovseg.schema import TrainConfig

logger = logging.getLogger(__name__)

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}

_UNDECIDED = ("output", "resume", "evaluator", "tasks")
_UNDECIDED_RUNTIME = ("device", "threads", "text_cache", "workers", "devices", "nodes")
_UNDECIDED_TRAINING = (
    "save_every",
    "evaluate_every",
    "evaluate_pictures",
    "best",
    "log_every",
    "loggers",
    "save_frozen",
)
"""Keys that a run may be resumed with other values of: they do not change the weights."""


def run_training(settings: TrainConfig, plan: TrainPlan, folder: Path, processes: Processes) -> int:
    """Train as planned; goes on where the folder stands.

    Returns:
        0.

    Raises:
        OvsegError: the weights, the folder, the pictures or the device are not usable, or it diverges.
    """
    device = find_device(processes.device(settings.runtime.device))
    if settings.runtime.threads is not None:
        torch.set_num_threads(settings.runtime.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with (
        ExitStack() as held,
        joined(processes, backend=BACKENDS.get(device.type, "gloo")),
        deterministic(settings.training.deterministic),
        _saying_once(processes),
    ):
        processes.first(lambda: _open(held, folder, settings))
        course = make_course(settings, plan, folder, processes, device)
        course.run()
    if processes.is_first:
        print(_said(settings, folder))
    return 0


@contextmanager
def _saying_once(processes: Processes) -> Iterator[None]:
    """Let all processes but the first say only what is wrong; else each would say what all do."""
    root = logging.getLogger("ovseg")
    before = root.level
    if not processes.is_first:
        root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(before)


def make_course(
    settings: TrainConfig, plan: TrainPlan, folder: Path, processes: Processes, device: torch.device
) -> Course:
    """Load the method and put everything together.

    Raises:
        OvsegError: as `run_training`.
    """
    training, runtime = settings.training, settings.runtime
    precision = _precision(runtime.precision, device)
    workers = default_workers(processes.count) if runtime.workers is None else runtime.workers
    loader = _loader(settings, plan, processes, device, workers)  # first: it looks at all truths
    logger.info("training on %d of %d pictures", plan.usable, plan.pictures)
    method = load_for_training(
        settings.model, device=device, precision=precision, seed=runtime.seed, text_cache=runtime.text_cache
    )
    engine = _engine(settings, plan, method, processes, device, precision)
    examiner = None
    if plan.evaluation is not None:
        examiner = Examiner(
            plan.evaluation, method, folder, processes, workers, training_names=plan.said.synonyms
        )
    return Course(engine, loader, folder, training, examiner)


def _loader(
    settings: TrainConfig, plan: TrainPlan, processes: Processes, device: torch.device, workers: int
) -> TrainingLoader:
    training = settings.training
    smallest, largest = training.scales
    return training_loader(
        plan.dataset,
        batch_size=plan.batch_size,
        crop=(training.crop, training.crop),
        scales=(smallest, largest),
        flip=training.flip,
        seed=settings.runtime.seed,
        rank=processes.rank,
        world_size=processes.count,
        workers=workers,
        device=device,
    )


def _engine(
    settings: TrainConfig,
    plan: TrainPlan,
    method: Trainable,
    processes: Processes,
    device: torch.device,
    precision: Precision,
) -> Engine:
    training, seed = settings.training, settings.runtime.seed
    made = method.start_training(plan.said, recompute=training.recompute, options=training.options)
    module = cast(torch.nn.Module, made)
    own_memory(module)
    module.train()
    groups = made.parameter_groups(lr=training.learning_rate, weight_decay=training.weight_decay)
    # From here on, what processes draw must differ: they see different pictures.
    torch.manual_seed(seed + 1 + processes.rank)
    return Engine(
        training=made,
        optimizer=torch.optim.AdamW(groups, lr=training.learning_rate),
        schedule=Schedule(
            iterations=training.iterations,
            drops=training.drops,
            drop_factor=training.drop_factor,
            warmup=training.warmup,
            warmup_factor=training.warmup_factor,
        ),
        device=device,
        precision=precision,
        clip_norm=training.clip_norm,
        seed=seed,
        processes=processes,
        compiled=training.compile,
    )


def _precision(asked: str, device: torch.device) -> Precision:
    """What was asked for; fp16, the official recipe's, has no kernels on a CPU."""
    if asked == "fp16" and device.type == "cpu":
        logger.warning("runtime.precision=fp16 needs a GPU; fp32 is used.")
        return "fp32"
    return cast(Precision, asked)


def _open(held: ExitStack, folder: Path, settings: TrainConfig) -> None:
    """Take the folder for this run, and see that it can be written to before anything takes long."""
    config = yaml.safe_dump(asdict(settings), sort_keys=False, allow_unicode=True)
    # Without a checkpoint there is nothing to go on with, and so nothing that other settings could spoil.
    resume = settings.resume and checkpoints.latest(folder) is not None
    held.enter_context(opened_run(folder, decisive(settings), config, resume=resume))
    if not resume:
        _clear(folder)
    probe = folder / checkpoints.FOLDER / "probe"
    write_durably(probe, b"")
    probe.unlink()


def decisive(settings: TrainConfig) -> dict[str, Any]:
    """What the weights depend on; a resumed run must agree with it."""
    everything = asdict(settings)
    for key in _UNDECIDED:
        del everything[key]
    for section, keys in (("runtime", _UNDECIDED_RUNTIME), ("training", _UNDECIDED_TRAINING)):
        for key in keys:
            del everything[section][key]
    return everything


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    try:
        for name in (checkpoints.FOLDER, evaluation.FOLDER, log.TENSORBOARD):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        for name in (checkpoints.MODEL, checkpoints.BEST, log.FILE):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error


def _said(settings: TrainConfig, folder: Path) -> str:
    model = folder / checkpoints.MODEL
    lines = [f"trained weights in {model}; use them with model.weights={model}"]
    if (folder / checkpoints.BEST).exists():
        lines.append(f"those of the best evaluation in {folder / checkpoints.BEST}")
    lines.append(f"course in {folder / log.FILE}")
    if "tensorboard" in settings.training.loggers:
        lines[-1] += f"; tensorboard --logdir {folder}"
    return "\n".join(lines)


def launch(argv: list[str], devices: int, nodes: int) -> int:
    """Start a process per device by torch's own launcher, with the same words.

    Raises:
        ConfigError: there are several nodes, on each of which torchrun must be started; or there are several
            combinations, each of which would start processes that run all of them.
    """
    multirun = next((word for word in argv if word in ("-m", "--multirun")), None)
    if multirun is not None:
        raise ConfigError(
            f"{multirun} with runtime.devices={devices}: each combination would start processes that run all "
            f"of them. Run one after another, or type torchrun --standalone --nproc-per-node {devices} "
            "--module ovseg train ... with the same words."
        )
    if nodes > 1:
        raise ConfigError(
            f"runtime.nodes={nodes}: start on every node, with the same words: torchrun --nnodes {nodes} "
            f"--nproc-per-node {devices} --rdzv-backend c10d --rdzv-endpoint FIRST_NODE:29500 -m ovseg train "
            "..."
        )
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    words = ["--standalone", "--nproc-per-node", str(devices), "--module", "ovseg", "train", *argv]
    try:
        torchrun(words)
    except ChildFailedError:  # the process has said why
        return 1
    except SignalException as stopped:  # torchrun has ended the processes
        if stopped.sigval == signal.SIGINT:
            raise KeyboardInterrupt from stopped
        return 128 + stopped.sigval
    return 0
