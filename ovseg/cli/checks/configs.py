"""Every config file: it composes, its keys are known, and the parts that it names take its arguments."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hydra import compose
from omegaconf import OmegaConf
from yaml import YAMLError

from ovseg.build import check_component
from ovseg.cli.checks.finding import Finding, fault, ok
from ovseg.config import (
    compose_config,
    compose_model,
    config_groups,
    hydra_session,
    is_trained,
    strict,
)
from ovseg.errors import OvsegError
from ovseg.progress import progress
from ovseg.registry import REGISTRIES
from ovseg.schema import SCHEMAS

_PARTS = {
    **{f"model/{registry.kind.replace(' ', '_')}": kind for kind, registry in REGISTRIES.items()},
    "dataset": "datasets",
}
"""Config group of a part -> the registry that its files name."""


def check_configs() -> Iterator[Finding]:
    """Findings on every option of every config group, of ovseg and of plugins."""
    groups = config_groups()
    total = sum(len(options) for options in groups.values())
    good: dict[str, int] = {}
    with progress("Checking configs", total, "configs") as advance:
        for group, options in groups.items():
            for option in options:
                faults = _faults(group, option)
                advance(1)
                if faults:
                    yield fault(
                        f"{group}={option}:\n" + "\n".join(faults),
                        f"Correct {group}/{option}.yaml or what it names.",
                    )
                else:
                    good[group] = good.get(group, 0) + 1
    for group, count in good.items():
        yield ok(f"{group}: {count} {'config composes' if count == 1 else 'configs compose'}")


def _faults(group: str, option: str) -> list[str]:
    try:
        if group == "model":
            return _model_faults(compose_model(option))
        if group in _PARTS:
            return check_component(_PARTS[group], _part(group, option), path=group.replace("/", "."))
        return _verb_faults(group, option)
    except (OvsegError, YAMLError) as error:
        return [str(error)]


def _model_faults(node: Mapping[str, Any]) -> list[str]:
    """Faults of a method node; the key that says which weights is the framework's."""
    return check_component("methods", {k: v for k, v in node.items() if k != "weights"}, path="model")


def _part(group: str, option: str) -> object:
    """The node of a part, as it stands in a model's config."""
    node = OmegaConf.to_container(compose_config(None, [f"+{group}={option}"]), resolve=True)
    for step in group.split("/"):
        node = node[step] if isinstance(node, dict) else None
    return node


def _verb_faults(group: str, option: str) -> list[str]:
    """Faults of an option within the config of each verb that has its group; on its own where none has."""
    verbs = [verb for verb in SCHEMAS if group in _groups_of(verb)]
    if not verbs:
        compose_config(None, [f"+{group}={option}"])
    choices = [f"{group}={option}", *(_whose_recipe(option) if group == "recipe" else ())]
    found: list[str] = []
    for verb in verbs:
        if verb == "train" and group in _groups_of("predict") and not _lead_to_training(choices):
            continue  # an experiment with Trident, say, is none in training
        composed = compose_config(verb, [*choices, *_what_users_give(verb)])
        settings: Any = strict(composed, SCHEMAS[verb])
        faults = _model_faults(settings.model) if hasattr(settings, "model") else []
        found += [f"in 'ovseg {verb}': {text}" for text in faults]
    return found


def _whose_recipe(option: str) -> list[str]:
    """The choice of a model that ``recipe/<method>-<vocabulary>.yaml`` is for; none for what is for any."""
    method = option.partition("-")[0]
    models = sorted(config_groups()["model"], key=lambda model: model != method)  # the namesake first
    return next(([f"model={model}"] for model in models if compose_model(model)["name"] == method), [])


def _lead_to_training(choices: Sequence[str]) -> bool:
    """Whether the model that these choices of ``ovseg predict`` lead to is one that is trained."""
    overrides = [*choices, *_what_users_give("predict")]
    with hydra_session():
        composed = compose("predict", overrides=overrides, return_hydra_config=True)
        return is_trained(composed.hydra.runtime.choices["model"])


@lru_cache
def _groups_of(verb: str) -> frozenset[str]:
    """The config groups that a verb has a choice in."""
    with hydra_session():
        composed = compose(verb, return_hydra_config=True)
    return frozenset(composed.hydra.runtime.choices)


@lru_cache
def _what_users_give(verb: str) -> tuple[str, ...]:
    """Overrides for the keys that a verb cannot do without."""
    missing = tuple(f"{key}=x" for key in sorted(OmegaConf.missing_keys(compose_config(verb))))
    # compare takes runs or models and so marks neither as missing.
    return (*missing, "runs=[x]") if verb == "compare" else missing
