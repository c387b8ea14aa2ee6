"""Evaluations in between, by the evaluators of ``ovseg evaluate``.

evaluations/00005000/per_image.jsonl, scores.json      after 5000 iterations
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ovseg.build import build_component
from ovseg.interfaces import Evaluator, Method
from ovseg.report.files import output_error, write_json
from ovseg.run.evaluate import Job, evaluate_pictures, gather
from ovseg.run.metrics import scores_json
from ovseg.run.plan import Plan, subject_of
from ovseg.run.processes import Processes
from ovseg.vocabulary import is_seen

FOLDER, SCORES = "evaluations", "scores.json"


@dataclass(frozen=True)
class Examiner:
    """Evaluates a method as it stands.

    Attributes:
        plan: what is evaluated.
        method: that is trained.
        folder: of the run.
        processes: that share the pictures.
        workers: that compare beside each of them.
        training_names: of the classes, all of which count as seen.
    """

    plan: Plan
    method: Method
    folder: Path
    processes: Processes
    workers: int
    training_names: tuple[str, ...]

    def scores(self, iteration: int) -> dict[str, float]:
        """``evaluator/metric`` -> value, headlines first; what is finished already is read.

        Raises:
            OvsegError: as `evaluate_pictures`.
        """
        folder = self.folder / FOLDER / f"{iteration:08}"
        if not self.processes.first((folder / SCORES).exists):
            self._evaluate(folder)
        return self.processes.first(lambda: _read(folder / SCORES))

    def forget(self, iteration: int) -> None:
        """Remove evaluations that will be made again: those of later iterations, and one that was cut short.

        The latter's records may be for other evaluators than this run's.
        """
        for folder in (self.folder / FOLDER).glob("[0-9]*"):
            if int(folder.name) > iteration or not (folder / SCORES).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _evaluate(self, folder: Path) -> None:
        seen = is_seen(self.plan.said, self.training_names)
        subject = subject_of(self.plan.dataset, seen)
        evaluators = {name: _evaluator(node, subject) for name, node in self.plan.evaluators.items()}
        job = Job(
            method=self.method,
            dataset=self.plan.dataset,
            count=len(self.plan.keys),
            said=self.plan.said,
            tasks=self.plan.tasks,
            evaluators=evaluators,
            keep=False,
            workers=self.workers,
        )
        self.processes.first(lambda: _make(folder))
        modules = [module for module in (self.method,) if isinstance(module, nn.Module)]
        for module in modules:
            module.eval()
        # What evaluating draws is no business of the training, which must go on as without it.
        with torch.random.fork_rng(devices=_gpus()):
            evaluate_pictures(job, folder, self.processes)
        for module in modules:
            module.train()
        self.processes.first(lambda: _finish(job, folder))


def _evaluator(node: Mapping[str, Any], subject: object) -> Evaluator:
    """Without intervals; it adds up what it is given, and asks no other process."""
    without = {"resamples": 0} if "resamples" in node else {}
    evaluator = cast(Evaluator, build_component("evaluators", {**node, **without}, [subject]))
    if hasattr(evaluator, "distributed_available_fn"):
        # The first process adds up alone, from files; a metric of torchmetrics would wait for the others.
        evaluator.distributed_available_fn = _not_asked
    return evaluator


def _not_asked() -> bool:
    return False


def _gpus() -> list[int]:
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error


def _finish(job: Job, folder: Path) -> None:
    numbers = gather(job, folder)
    write_json(
        folder / SCORES,
        {
            "pictures": numbers.used,
            "skipped": dict(numbers.skipped),
            "scores": {name: scores_json(scores) for name, scores in numbers.scores.items()},
        },
        indent=1,
    )


def _read(path: Path) -> dict[str, float]:
    content = json.loads(path.read_text())
    return {
        f"{evaluator}/{name}": math.nan if scores["values"][name] is None else scores["values"][name]
        for evaluator, scores in content["scores"].items()
        for name in scores["order"]
    }


def chosen_score(scores: Mapping[str, float], best: str | None) -> tuple[str, float] | None:
    """The number that decides which weights are the best; None where there is none."""
    name = best or next(iter(scores), None)
    if name is None or name not in scores or math.isnan(scores[name]):
        return None
    return name, scores[name]
