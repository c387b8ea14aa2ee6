"""A method made ready to be trained: what is frozen is filled from files, what is trained begins as drawn."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ovseg.build import build_component
from ovseg.errors import ConfigError
from ovseg.interfaces import Precision, Pretrained, Trainable
from ovseg.models.common.text_cache import TextCache
from ovseg.run.load import load_parts
from ovseg.weights.fetch import fetch
from ovseg.weights.parts import PARTS, RANDOM
from ovseg.weights.zoo import cache_folder


def load_for_training(
    node: Mapping[str, Any],
    *,
    device: torch.device,
    precision: Precision,
    seed: int,
    text_cache: bool | str,
) -> Trainable:
    """Build a method with real weights everywhere.

    Args:
        node: checked. Its ``weights`` are ``parts`` (published weights for the parts that have some, the
            constructors' for all others), a path or a name of the zoo to go on from, or ``random``.
        device: where it is trained.
        precision: that frozen parts compute in.
        seed: decides what the constructors draw.
        text_cache: as in `RuntimeConfig`.

    Raises:
        ConfigError: the weights are not said, or no part has published ones.
        WeightsError: they cannot be had or do not fit.
    """
    arguments = {key: value for key, value in node.items() if key != "weights"}
    weights = node.get("weights")
    if not isinstance(weights, str):
        raise ConfigError(
            f"model.weights={weights}: say what to begin with: parts (published weights of the frozen "
            "parts), a path or a name from 'ovseg ls weights' to go on from, or random."
        )
    torch.manual_seed(seed)
    cache = TextCache(_cache_folder(text_cache) if weights != RANDOM else None)
    method = cast(Trainable, build_component("methods", arguments, [cache], path="model"))
    if weights == RANDOM:
        warnings.warn("the frozen parts have random weights too: fit for tests alone.", stacklevel=2)
    elif weights == PARTS:
        _require_published(method)
        load_parts(method)
    else:
        method.load_weights(fetch(weights))
    method.prepare(device=device, precision=precision)
    return method


def own_memory(module: torch.nn.Module) -> None:
    """Copy trained parameters out of the file that they may lie in, which may change under a long run."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.clone()


def _cache_folder(setting: bool | str) -> Path | None:
    if setting is False:
        return None
    return cache_folder() / "text" if setting is True else Path(setting).expanduser()


def _require_published(method: Trainable) -> None:
    modules = method.modules() if isinstance(method, torch.nn.Module) else ()
    if not any(isinstance(part, Pretrained) and part.weights_name is not None for part in modules):
        raise ConfigError(
            "model.weights=parts: no part says where its published weights are. Name them in the part's "
            "node, as in model.backbone.pretrained=TAG, or write model.weights=random to try things out."
        )
