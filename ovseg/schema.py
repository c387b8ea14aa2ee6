"""The keys of a run that belong to the framework, not to a part: what they may hold and what they mean.

Hydra checks the types while it composes (these classes are in its ConfigStore); `problems` says the rest.
The keys of parts (``model``) have no class here: the constructors are their schema, see `ovseg.build`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ovseg.suggest import did_you_mean

PRECISIONS = ("fp32", "fp16", "bf16")
TASK_NAMES = ("semantic", "panoptic", "instance")
NAMES = ("fcclip", "plain", "trident")
LOGGER_NAMES = ("tensorboard", "wandb")


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how numbers are computed.

    Attributes:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: number format of the heavy parts.
        seed: of every random number; always applied.
        threads: of the CPU; None leaves torch's own choice.
        text_cache: where text embeddings are kept: the cache folder (true), nowhere (false) or a folder.
        workers: processes that evaluate beside the model (``ovseg evaluate``); 0 is none, None up to 4.
    """

    device: str = "auto"
    precision: str = "fp32"
    seed: int = 0
    threads: int | None = None
    text_cache: bool | str = True
    workers: int | None = None

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = _not_one_of("precision", self.precision, PRECISIONS)
        if self.workers is not None:
            found += _too_small("workers", self.workers, 0)
        if self.threads is not None:
            found += _too_small("threads", self.threads, 1)
        return found + _too_small("seed", self.seed, 0)


@dataclass(frozen=True)
class VocabularyConfig:
    """Which built-in list of classes, said in which words.

    Attributes:
        name: of a built-in list (``ovseg ls vocabularies``).
        names: whose names of the classes: ``fcclip``, ``plain``, ``trident``; None is the list's usual one.
        templates: prompts around a name: ``vild``, ``imagenet``, a list, or None for the method's own.
    """

    name: str = MISSING
    names: str | None = None
    templates: Any = None

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = [] if self.names is None else _not_one_of("names", self.names, NAMES)
        if not (self.templates is None or isinstance(self.templates, str) or _is_strings(self.templates)):
            found.append(f"templates={self.templates}: must be null, the name of a set or a list of prompts")
        return found


@dataclass(frozen=True)
class PredictConfig:
    """Everything ``ovseg predict`` reads.

    Attributes:
        input: a picture, a folder, a glob, a list file, or a list of these.
        output: folder for the results; made when missing.
        classes: classes of your own, a list or a file; None takes `vocabulary`.
        model: a method node, checked against constructors by `ovseg.build`.
        tasks: which results to make.
        batch_size: pictures of one size that are computed together.
        resume: skip pictures that are already done in `output`.
        overlay: also draw the classes over each picture.
    """

    input: Any = MISSING
    output: str = MISSING
    classes: Any = None
    tasks: list[str] = field(default_factory=lambda: list(TASK_NAMES))
    batch_size: int = 1
    resume: bool = True
    overlay: bool = True
    model: dict[str, Any] = field(default_factory=dict)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = []
        if not isinstance(self.input, str) and not (_is_strings(self.input) and self.input):
            found.append(f"input={self.input}: must be a path, a glob or a list of these")
        if not (self.classes is None or isinstance(self.classes, str | list)):
            found.append(
                f"classes={self.classes}: must be a list of names, as in classes='[cat, dog]', or a file"
            )
        found += _wrong_tasks(self.tasks)
        return found + _too_small("batch_size", self.batch_size, 1)


@dataclass(frozen=True)
class DatasetVocabularyConfig(VocabularyConfig):
    """As `VocabularyConfig`; without a name the classes are said in the data set's own words.

    Attributes:
        name: of a built-in list with the data set's classes, or None.
    """

    name: str | None = None  # type: ignore[assignment]


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything ``ovseg evaluate`` reads.

    Attributes:
        output: folder of the run; None is ``runs/<dataset>/<model>``.
        tasks: views that the method is asked for; None is all that the data set has truth for.
        limit: evaluate only the first pictures, that many; None is all.
        resume: go on where an earlier run of the same settings stopped.
        predictions: keep them, as ``ovseg predict`` writes them.
        model, dataset: nodes, checked against constructors by `ovseg.build`.
        evaluator: nodes by the name that their numbers get; ``auto: true`` among them leaves out those that
            the data set has no truth for.
        vocabulary: in which words the method is told the data set's classes.
    """

    output: str | None = None
    tasks: list[str] | None = None
    limit: int | None = None
    resume: bool = True
    predictions: bool = False
    model: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    evaluator: dict[str, Any] = field(default_factory=dict)
    vocabulary: DatasetVocabularyConfig = field(default_factory=DatasetVocabularyConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = [] if self.limit is None else _too_small("limit", self.limit, 1)
        if self.tasks is not None:
            found += _wrong_tasks(self.tasks)
        if not [key for key in self.evaluator if key != "auto"]:
            found.append("evaluator: none is chosen; write evaluator=auto or evaluator=[mean_iou]")
        return found


@dataclass(frozen=True)
class CompareConfig:
    """Everything ``ovseg compare`` reads.

    Attributes:
        models: options of the group ``model``, evaluated first where there is no run of them; or
        runs: folders of finished runs.
        output: folder of the comparison; None is ``runs/compare/<dataset>``.
        into: folder of the runs that are made; None is ``runs/<dataset>``.
        baseline: name of the run that differences are to; None is the first.
        pictures: how many the page shows.
        digits: behind the point, in what people read.
        resamples: of the paired bootstrap intervals; 0 for none.
        limit, resume: as for `EvaluateConfig`.
        dataset: node; with runs, where their pictures are; empty is where they were.
        evaluator: nodes, as for `EvaluateConfig`.
    """

    models: list[str] | None = None
    runs: list[str] | None = None
    output: str | None = None
    into: str | None = None
    baseline: str | None = None
    pictures: int = 30
    digits: int = 1
    resamples: int = 1000
    limit: int | None = None
    resume: bool = True
    dataset: dict[str, Any] = field(default_factory=dict)
    evaluator: dict[str, Any] = field(default_factory=dict)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = _too_small("pictures", self.pictures, 0) + _too_small("resamples", self.resamples, 0)
        if not 0 <= self.digits <= 6:
            found.append(f"digits={self.digits}: must be from 0 to 6")
        if self.limit is not None:
            found += _too_small("limit", self.limit, 1)
        if bool(self.models) == bool(self.runs):
            found.append(
                "name what to compare, either models=[fcclip,trident] dataset=ade20k or "
                "runs=[runs/ade20k/fcclip,runs/ade20k/trident]"
            )
        if self.models and not self.dataset:
            found.append("models: on which data set? Add dataset=ade20k ('ovseg ls datasets')")
        for model in sorted({model for model in self.models or () if (self.models or ()).count(model) > 1}):
            found.append(f"models: '{model}' is named twice")
        return found


@dataclass(frozen=True)
class TrainRuntimeConfig(RuntimeConfig):
    """As `RuntimeConfig`, for work that many devices share.

    Attributes:
        precision: that autocast computes in; fp16, which needs a GPU, scales the loss.
        workers: processes that prepare pictures for each device; None is as many as there are cores for.
        devices: on each machine; more than one starts as many processes.
        nodes: machines; more than one are started with ``torchrun`` on each.
    """

    devices: int = 1
    nodes: int = 1

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = _too_small("devices", self.devices, 1) + _too_small("nodes", self.nodes, 1)
        if self.devices * self.nodes > 1 and ":" in self.device:
            found.append(f"device={self.device}: each process takes a GPU of its own; write device=cuda")
        return super().problems() + found


@dataclass(frozen=True)
class TrainingConfig:
    """How a method is trained; `conf/training/<method>.yaml` is its official recipe.

    Attributes:
        iterations: steps of the optimizer.
        batch_size: pictures per iteration, those of all processes together.
        accumulate: parts that a process computes its share of an iteration in, one after another.
        learning_rate, weight_decay: of AdamW; the method says which tensors they are for.
        drops, drop_factor, warmup, warmup_factor: see `ovseg.run.training.schedule.Schedule`.
        clip_norm: most that the norm of all gradients together may be; None for any.
        crop: side of the square crops, in pixels.
        scales: bounds of the size of a picture before it is cropped, as factors on its fit into the crop.
        flip: probability of mirroring.
        recompute: compute activations again in the backward pass, for less memory.
        compile: through `torch.compile`.
        deterministic: the same bits in every run, where that costs speed.
        save_every: iterations between checkpoints.
        evaluate_every: iterations between evaluations; 0 for none.
        evaluate_pictures: evaluate only the first pictures, that many; None is all.
        best: evaluator and metric that decide which weights are the best; None is the first headline.
        log_every: iterations per row of the log.
        loggers: beside the CSV file.
        save_frozen: whether result files hold the frozen parts too.
        options: the method's own.
    """

    iterations: int = MISSING
    batch_size: int = MISSING
    accumulate: int = 1
    learning_rate: float = MISSING
    weight_decay: float = MISSING
    drops: list[float] = field(default_factory=list)
    drop_factor: float = 0.1
    warmup: int = 0
    warmup_factor: float = 1.0
    clip_norm: float | None = None
    crop: int = MISSING
    scales: list[float] = MISSING
    flip: float = 0.5
    recompute: bool = False
    compile: bool = False
    deterministic: bool = False
    save_every: int = 5000
    evaluate_every: int = 5000
    evaluate_pictures: int | None = None
    best: str | None = None
    log_every: int = 20
    loggers: list[str] = field(default_factory=lambda: ["tensorboard"])
    save_frozen: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = []
        for key in ("iterations", "batch_size", "accumulate", "crop", "save_every", "log_every"):
            found += _too_small(key, getattr(self, key), 1)
        for key in ("warmup", "evaluate_every"):
            found += _too_small(key, getattr(self, key), 0)
        if self.evaluate_pictures is not None:
            found += _too_small("evaluate_pictures", self.evaluate_pictures, 1)
        if self.learning_rate <= 0:
            found.append(f"learning_rate={self.learning_rate}: must be greater than 0")
        if self.clip_norm is not None and self.clip_norm <= 0:
            found.append(f"clip_norm={self.clip_norm}: must be greater than 0, or null for no clipping")
        for key, values in (("flip", [self.flip]), ("drops", self.drops)):
            if not all(0 <= value <= 1 for value in values):
                found.append(f"{key}={getattr(self, key)}: must be from 0 to 1")
        if len(self.scales) != 2 or not 0 < self.scales[0] <= self.scales[1]:
            found.append(f"scales={self.scales}: must be [smallest,largest], greater than 0")
        for name in self.loggers:
            found += _not_one_of("loggers", name, LOGGER_NAMES)
        return found


@dataclass(frozen=True)
class TrainConfig:
    """Everything ``ovseg train`` reads.

    Attributes:
        output: folder of the run; None is ``runs/train/<dataset>/<model>``.
        split: part of the data set that is trained on; None is ``train``, and everything of a data set
            without parts.
        resume: go on where an earlier run of the same settings stopped.
        model, dataset: nodes, checked against constructors by `ovseg.build`; ``dataset.split`` is the part
            that is evaluated on.
        evaluator: nodes, as for `EvaluateConfig`.
        tasks: views that the evaluations ask for; None is all that the data set has truth for.
        vocabulary: in which words the method is told the data set's classes.
    """

    output: str | None = None
    split: str | None = None
    tasks: list[str] | None = None
    resume: bool = True
    model: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    evaluator: dict[str, Any] = field(default_factory=dict)
    vocabulary: DatasetVocabularyConfig = field(default_factory=DatasetVocabularyConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    runtime: TrainRuntimeConfig = field(default_factory=TrainRuntimeConfig)

    def problems(self) -> list[str]:
        """What is wrong with the values, one line per key."""
        found = [] if self.tasks is None else _wrong_tasks(self.tasks)
        processes = self.runtime.devices * self.runtime.nodes
        share = processes * self.training.accumulate
        if share > 0 and self.training.batch_size % share:
            found.append(
                f"training.batch_size={self.training.batch_size}: cannot be shared equally by {processes} "
                f"devices in {self.training.accumulate} parts each; take a multiple of {share}"
            )
        return found


SCHEMAS: dict[str, type] = {
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "train": TrainConfig,
}
"""Config name of a verb -> its root class."""


def _wrong_tasks(tasks: Sequence[str]) -> list[str]:
    if not tasks:
        return [f"tasks=[]: name at least one of {', '.join(TASK_NAMES)}"]
    found = [fault for task in tasks for fault in _not_one_of("tasks", task, TASK_NAMES)]
    if len(set(tasks)) != len(tasks):
        found.append(f"tasks={list(tasks)}: each task once")
    return found


def _is_strings(value: object) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) for v in value)
    )


def _not_one_of(key: str, value: str, allowed: Sequence[str]) -> list[str]:
    if value in allowed:
        return []
    return [f"{key}={value}: must be one of {', '.join(allowed)}.{did_you_mean(value, allowed)}"]


def _too_small(key: str, value: int, least: int) -> list[str]:
    return [] if value >= least else [f"{key}={value}: must be at least {least}"]
