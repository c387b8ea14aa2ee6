"""What a run of ``ovseg evaluate`` will do, decided and checked before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ovseg.build import build_component, check_component
from ovseg.dataset import Dataset
from ovseg.errors import ConfigError, VocabularyError
from ovseg.image import Task
from ovseg.schema import EvaluateConfig, VocabularyConfig
from ovseg.suggest import listed
from ovseg.types import checked_tasks
from ovseg.vocabulary import Vocabulary, as_templates, load_vocabulary, vocabulary_info, vocabulary_names

AUTO = "auto"
"""Key of the group ``evaluator`` that leaves out what the data set has no truth for."""

_OWN_AP = "cityscapes"
"""The data set whose publisher has rules of its own for instances."""


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        dataset: with its files.
        keys: of the pictures that are evaluated, in the data set's order.
        said: its classes as the method is told them.
        names: the variant of the built-in list that they are; None if they are none.
        tasks: views that the method is asked for.
        evaluators: name -> node.
    """

    dataset: Dataset
    keys: tuple[str, ...]
    said: Vocabulary
    names: str | None
    tasks: tuple[Task, ...]
    evaluators: Mapping[str, Mapping[str, Any]]


def make_plan(settings: EvaluateConfig) -> Plan:
    """Find the data set and choose words, tasks and evaluators.

    Raises:
        ConfigError: a node has faults, or an evaluator needs truth or predictions that there are not.
        DataError: the data set is absent or damaged.
        VocabularyError: the vocabulary is not of the data set's classes.
    """
    faults = check_component(
        "methods", {k: v for k, v in settings.model.items() if k != "weights"}, path="model"
    )
    if faults:
        raise ConfigError("\n".join(faults))
    dataset: Dataset = build_component("datasets", settings.dataset, path="dataset")
    keys = tuple(dataset.keys)[: settings.limit]
    said, names = said_classes(dataset.vocabulary, settings.vocabulary)
    tasks = checked_tasks(settings.tasks or dataset.tasks)
    evaluators = _evaluators(settings, dataset, tasks)
    return Plan(dataset, keys, said, names, tasks, evaluators)


def said_classes(own: Vocabulary, chosen: VocabularyConfig) -> tuple[Vocabulary, str | None]:
    """A data set's classes in the words that are chosen, and which variant of a built-in list they are.

    Args:
        own: in the data set's words.
        chosen: ``name`` may be None, which stands for the data set's list if that is built in, and for its
            own words otherwise.

    Raises:
        VocabularyError: there is no such list or variant, or it is one of other classes.
    """
    name = chosen.name or (own.name if own.name in vocabulary_names() else None)
    if name is None:
        if chosen.names is not None:
            raise VocabularyError(
                f"vocabulary.names={chosen.names}: the classes of '{own.name}' are no built-in list, so they "
                "have no variants. Leave it out, or write other names into the file of classes."
            )
        return replace(own, templates=as_templates(chosen.templates)), None
    said = load_vocabulary(name, names=chosen.names, templates=chosen.templates)
    if said.name != own.name:
        _refuse_other_classes(own, said)
    return said, chosen.names or vocabulary_info(name).default_names


def _refuse_other_classes(own: Vocabulary, said: Vocabulary) -> None:
    advice = "Leave 'vocabulary=' out: the data set then brings its own."
    if len(said) != len(own):
        raise VocabularyError(
            f"The data set has the {len(own)} classes of '{own.name}', the vocabulary '{said.name}' has "
            f"{len(said)}. They must be the same classes in the same order. {advice}"
        )
    places = {name.casefold(): at for at, entry in enumerate(said.classes) for name in entry.names}
    for at, entry in enumerate(own.classes):
        found = [places[name.casefold()] for name in entry.names if name.casefold() in places]
        if found and at not in found:
            raise VocabularyError(
                f"Class {at} of the data set is '{entry.name}', which is class {found[0]} of the vocabulary "
                f"'{said.name}'. They must be the same classes in the same order. {advice}"
            )


def _evaluators(
    settings: EvaluateConfig, dataset: Dataset, tasks: Sequence[Task]
) -> dict[str, Mapping[str, Any]]:
    """The chosen nodes, checked."""
    nodes = {name: node for name, node in settings.evaluator.items() if name != AUTO}
    subject = subject_of(dataset, [False] * len(dataset.vocabulary))
    built = {
        name: build_component("evaluators", node, [subject], path=f"evaluator.{name}")
        for name, node in nodes.items()
    }
    if settings.evaluator.get(AUTO):
        left_out = "average_precision" if settings.dataset["name"] == _OWN_AP else "cityscapes_ap"
        able = [task for task in tasks if task in dataset.tasks]
        return {
            name: node
            for name, node in nodes.items()
            if built[name].task in able and node["name"] != left_out
        }
    for name, evaluator in built.items():
        if evaluator.task not in dataset.tasks:
            raise ConfigError(
                f"evaluator={name} needs {evaluator.task} truth; the data set has {listed(dataset.tasks)}. "
                "Choose another, or evaluator=auto for all that fit."
            )
        if evaluator.task not in tasks:
            raise ConfigError(
                f"evaluator={name} needs {evaluator.task} predictions, and tasks=[{','.join(tasks)}]. Choose "
                f"another evaluator, or add {evaluator.task} to tasks."
            )
    return nodes


def subject_of(dataset: Dataset, is_seen: Sequence[bool]) -> object:
    """What evaluators are told of the classes."""
    from ovseg.evaluation.subject import Subject

    return Subject(dataset.vocabulary, tuple(is_seen))
