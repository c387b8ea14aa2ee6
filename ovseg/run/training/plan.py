"""What a run of ``ovseg train`` will do, decided and checked before a model is loaded."""

from dataclasses import dataclass

from ovseg.build import build_component, check_component
from ovseg.data.training.truths import usable_pictures
from ovseg.dataset import Dataset
from ovseg.errors import AbsentDataError, ConfigError
from ovseg.registry import METHODS
from ovseg.run.plan import Plan, make_plan, said_classes, subject_of
from ovseg.run.processes import Processes
from ovseg.run.training.log import require_loggers
from ovseg.schema import EvaluateConfig, TrainConfig
from ovseg.suggest import did_you_mean, listed
from ovseg.vocabulary import Vocabulary

TRAINING_SPLIT = "train"


@dataclass(frozen=True)
class TrainPlan:
    """What is trained on.

    Attributes:
        dataset: the part that is trained on.
        pictures, usable: how many it has, and how many of them can be trained on.
        said: its classes as the method is told them.
        batch_size: pictures in each part of a process's batch.
        evaluation: what is evaluated in between; None for nothing.
    """

    dataset: Dataset
    pictures: int
    usable: int
    said: Vocabulary
    batch_size: int
    evaluation: Plan | None


def make_train_plan(settings: TrainConfig, processes: Processes) -> TrainPlan:
    """Find the data and choose words and evaluators.

    Raises:
        ConfigError: a node has faults, the method cannot be trained, or the processes are not as many as the
            config says or cannot share a batch.
        DataError: the data set is absent or damaged.
        VocabularyError: the vocabulary is not of the data set's classes.
    """
    node = {key: value for key, value in settings.model.items() if key != "weights"}
    faults = check_component("methods", node, path="model")
    if faults:
        raise ConfigError("\n".join(faults))
    if not hasattr(METHODS.get(node["name"]), "start_training"):
        raise ConfigError(
            f"model.name={node['name']}: this method has nothing that is trained (no 'start_training'). "
            "Choose one that has: model=fcclip."
        )
    require_loggers(settings.training.loggers)
    batch_size = _batch_size(settings, processes)
    part = _training_node(settings)
    dataset: Dataset = build_component("datasets", part, path="dataset")
    pictures = len(dataset.keys)
    usable = len(usable_pictures(dataset))
    said, _ = said_classes(dataset.vocabulary, settings.vocabulary)
    return TrainPlan(dataset, pictures, usable, said, batch_size, _evaluation(settings))


def _training_node(settings: TrainConfig) -> dict[str, object]:
    node = dict(settings.dataset)
    if settings.split is not None:
        return {**node, "split": settings.split}
    return {**node, "split": TRAINING_SPLIT} if node.get("split") else node


def _batch_size(settings: TrainConfig, processes: Processes) -> int:
    asked = settings.runtime.devices * settings.runtime.nodes
    if asked not in (1, processes.count):
        raise ConfigError(
            f"runtime.devices={settings.runtime.devices}, runtime.nodes={settings.runtime.nodes}: that is "
            f"{asked} processes, and torchrun has started {processes.count}. Leave both keys out, or start "
            "as many."
        )
    share = processes.count * settings.training.accumulate
    if settings.training.batch_size % share:
        raise ConfigError(
            f"training.batch_size={settings.training.batch_size}: cannot be shared equally by "
            f"{processes.count} processes in {settings.training.accumulate} parts each; take a multiple of "
            f"{share}."
        )
    return settings.training.batch_size // share


def _evaluation(settings: TrainConfig) -> Plan | None:
    training = settings.training
    if not training.evaluate_every:
        return None
    try:
        plan = make_plan(
            EvaluateConfig(
                limit=training.evaluate_pictures,
                tasks=settings.tasks,
                model=settings.model,
                dataset=settings.dataset,
                evaluator=settings.evaluator,
                vocabulary=settings.vocabulary,
                runtime=settings.runtime,
            )
        )
    except AbsentDataError as error:
        raise AbsentDataError(f"{error} To train without evaluating: training.evaluate_every=0.") from error
    if training.best is not None:
        _require_number(training.best, plan)
    return plan


def _require_number(best: str, plan: Plan) -> None:
    """See that there is a number of this name: an evaluator has them all before its first picture."""
    subject = subject_of(plan.dataset, [True] * len(plan.said))
    known = [
        f"{evaluator}/{metric}"
        for evaluator, node in plan.evaluators.items()
        for metric in build_component("evaluators", node, [subject]).compute().values
    ]
    if best not in known:
        raise ConfigError(
            f"training.best={best}: there is no such number.{did_you_mean(best, known)} Numbers: "
            f"{listed(known)}."
        )
