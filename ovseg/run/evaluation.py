"""One run of ``ovseg evaluate``, from its plan to its files."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from ovseg.build import build_component
from ovseg.dataset import Dataset
from ovseg.interfaces import Method, Precision
from ovseg.report.files import write_file
from ovseg.report.scores import markdown, print_scores
from ovseg.run import declaration
from ovseg.run.evaluate import Job, evaluate_pictures, gather
from ovseg.run.load import load_method
from ovseg.run.measuring import default_workers
from ovseg.run.metrics import Numbers, scores_json, write_metrics
from ovseg.run.opened_run import opened_run
from ovseg.run.plan import Plan, subject_of
from ovseg.run.processes import Processes, joined
from ovseg.run.published import published_for
from ovseg.run.run_folder import FORMAT, METRICS, REPORT
from ovseg.schema import EvaluateConfig
from ovseg.vocabulary import is_seen


@dataclass(frozen=True)
class Choices:
    """The files of conf/ that a run was composed from.

    Attributes:
        model, dataset: options of these groups.
        recipe: the same; None if there is none for these classes.
    """

    model: str
    dataset: str
    recipe: str | None


def run_evaluation(
    settings: EvaluateConfig, plan: Plan, choices: Choices, folder: Path, processes: Processes
) -> int:
    """Load the method, evaluate, write the numbers and print them.

    Returns:
        0, or 1 if a picture was left out.

    Raises:
        OvsegError: the weights, the folder or the device are not usable, or an error that every picture
            would meet.
    """
    start, started = time.monotonic(), datetime.now(timezone.utc)
    method = _loaded(settings, processes)
    seen = is_seen(plan.said, _training_names(method, plan.dataset))
    job = _job(settings, plan, method, seen, processes)
    with ExitStack() as held, joined(processes):
        declared = processes.first(lambda: _declared(settings, plan, choices, method))
        decisive = _decisive(declared, keep=settings.predictions)
        config = yaml.safe_dump(asdict(settings), sort_keys=False, allow_unicode=True)
        opened = opened_run(folder, decisive, config, resume=settings.resume)
        processes.first(lambda: held.enter_context(opened))
        evaluate_pictures(job, folder, processes)
        if not processes.is_first:
            return 0
        processes.leave()
        numbers = gather(job, folder)
        metrics = {
            **declared,
            **_found(numbers, plan, seen),
            "format": FORMAT,
            "name": folder.resolve().name,
            "environment": declaration.environment(),
            "published": published_for(
                settings, choices.model, choices.dataset, names=plan.names, evaluators=list(plan.evaluators)
            ),
            "time": _time(
                numbers, processes.device(settings.runtime.device), started, time.monotonic() - start
            ),
        }
        write_file(folder / REPORT, markdown(metrics).encode())
        write_metrics(folder / METRICS, metrics)
    print_scores(metrics)
    print(f"numbers, records and report in {folder}")
    return 1 if numbers.skipped else 0


def _loaded(settings: EvaluateConfig, processes: Processes) -> Method:
    runtime = settings.runtime
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    return load_method(
        settings.model,
        device=processes.device(runtime.device),
        precision=cast(Precision, runtime.precision),
        seed=runtime.seed,
        text_cache=runtime.text_cache,
    )


def _training_names(method: Method, dataset: Dataset) -> tuple[str, ...]:
    """The names that decide which classes count as seen.

    They are those that the method was trained with. Where it was trained with none, those of the data set's
    training part, if it says them: so all methods are divided alike.
    """
    own = getattr(method, "training_names", ())
    return tuple(own or getattr(dataset, "training_names", ()))


def _job(
    settings: EvaluateConfig, plan: Plan, method: Method, seen: tuple[bool, ...], processes: Processes
) -> Job:
    subject = subject_of(plan.dataset, seen)
    workers = settings.runtime.workers
    return Job(
        method=method,
        dataset=plan.dataset,
        count=len(plan.keys),
        said=plan.said,
        tasks=plan.tasks,
        evaluators={
            name: build_component("evaluators", node, [subject], path=f"evaluator.{name}")
            for name, node in plan.evaluators.items()
        },
        keep=settings.predictions,
        workers=default_workers(processes.count) if workers is None else workers,
    )


def _declared(settings: EvaluateConfig, plan: Plan, choices: Choices, method: Method) -> dict[str, Any]:
    """The protocol and the method."""
    node = settings.model
    return {
        "protocol": declaration.protocol(
            plan.dataset,
            settings.dataset,
            keys=plan.keys,
            said=plan.said,
            names=plan.names,
            templates=plan.said.templates or tuple(getattr(method, "templates", ())),
            evaluators=plan.evaluators,
            tasks=plan.tasks,
        ),
        "method": declaration.method(
            node,
            name=choices.model,
            recipe=choices.recipe,
            weights=declaration.weights_of(method, node.get("weights")),
            precision=settings.runtime.precision,
            seed=settings.runtime.seed,
        ),
    }


def _decisive(declared: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    """What the record of a picture depends on: neither which others there are nor how they are added up."""
    protocol = declared["protocol"]
    kept = ("name", "split", *declaration.DRAWN_KEYS)
    dataset = {key: value for key, value in protocol["dataset"].items() if key in kept}
    evaluators = {
        name: {key: value for key, value in node.items() if key not in ("resamples", "rules")}
        for name, node in protocol["evaluators"].items()
    }
    return {
        "ovseg": declaration.environment()["ovseg"],
        "protocol": {**protocol, "dataset": dataset, "evaluators": evaluators},
        "method": declared["method"],
        "predictions": keep,
    }


def _found(numbers: Numbers, plan: Plan, seen: Sequence[bool]) -> dict[str, Any]:
    """The numbers and what they are of."""
    classes = plan.dataset.vocabulary.classes
    return {
        "pictures": {
            "used": numbers.used,
            "skipped": [{"key": key, "reason": reason} for key, reason in numbers.skipped.items()],
        },
        "scores": {name: scores_json(scores) for name, scores in numbers.scores.items()},
        "classes": [entry.name for entry in classes],
        "is_thing": [entry.is_thing for entry in classes],
        "is_seen": list(seen),
    }


def _time(numbers: Numbers, device: str, started: datetime, wall_seconds: float) -> dict[str, Any]:
    target = "cuda" if device == "auto" and torch.cuda.is_available() else device
    gpu = torch.cuda.get_device_name(target) if target.startswith("cuda") else None
    seconds = numbers.seconds or {}
    return {
        "seconds_per_picture": seconds.get("method"),
        "stages": seconds.get("stages", {}),
        "evaluation_seconds_per_picture": seconds.get("evaluation"),
        "peak_gb": declaration.peak_gb(target),
        "device": gpu or target.replace("auto", "cpu"),
        "processor": declaration.processor(),
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": wall_seconds,
    }
