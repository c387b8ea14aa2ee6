"""A method from its name: compose, check, build, fill with weights, move to the device."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ovseg.build import build_component, check_component
from ovseg.config import compose_model
from ovseg.errors import ConfigError, WeightsError
from ovseg.interfaces import Method, Precision, Pretrained
from ovseg.models.common.text_cache import TextCache
from ovseg.schema import PRECISIONS
from ovseg.weights.fetch import fetch
from ovseg.weights.parts import PARTS, RANDOM
from ovseg.weights.zoo import cache_folder

_NOT_SAID = ""

logger = logging.getLogger(__name__)


def load_method(
    name_or_node: str | Mapping[str, Any],
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    precision: Precision | str = "fp32",
    seed: int = 0,
    text_cache: bool | str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Method:
    """Build a method and make it ready to predict.

    Args:
        name_or_node: of a file of the group ``model`` (``ovseg ls models``), or the node itself.
        weights: name of the zoo (``ovseg ls weights``), a path, ``parts`` (each part's own published weights)
            or ``random``; None takes what the node says, which may be null for a method that has no weights.
        device: ``auto`` is a GPU if there is one, else the CPU.
        precision: number format of the heavy parts.
        seed: for torch; decides what ``random`` weights are.
        text_cache: folder for text embeddings; None is the one in the cache folder, False is none.
        overrides: changes to the node as they are typed after ``ovseg predict``: ``model.short_side=640``,
            ``model/backbone=clip_resnet50``. Only with a name.

    Raises:
        ConfigError: the node has faults (the message lists all), or the device is not there.
        PluginError: the method or a part comes from a plugin that does not work.
        WeightsError: the weights cannot be found, fetched or read, or are of another model.
    """
    node = _node(name_or_node, overrides)
    written = node.pop("weights", _NOT_SAID)
    chosen = written if weights is None else str(weights)
    faults = check_component("methods", node, path="model")
    if not (isinstance(chosen, str) or chosen is None) or chosen == _NOT_SAID:
        faults.append(
            "model.weights is missing: a name from 'ovseg ls weights', a path, parts, random, or null for "
            "none."
        )
    if precision not in PRECISIONS:
        faults.append(f"precision={precision}: must be one of {', '.join(PRECISIONS)}.")
    if faults:
        raise ConfigError("\n".join(faults))
    target = find_device(device)
    torch.manual_seed(seed)
    method = _build(node, _text_cache(text_cache), chosen)
    method.prepare(device=target, precision=cast(Precision, precision))
    if isinstance(method, torch.nn.Module):
        method.eval()
    return method


def find_device(device: str | torch.device) -> torch.device:
    """The device that a name means.

    Raises:
        ConfigError: torch does not know the name, or this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device}: must be auto, cpu, cuda, cuda:1 or mps.") from error
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    count = present.get(found.type, 0)
    if (found.index or 0) >= count:
        raise ConfigError(
            f"device={device}: torch {torch.__version__} finds {count} devices of type '{found.type}' here. "
            "Write device=auto or device=cpu."
        )
    return found


def _node(name_or_node: str | Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    if isinstance(name_or_node, str):
        return compose_model(name_or_node, overrides)
    if overrides:
        raise ConfigError("overrides only go with the name of a model; change the given node itself.")
    return dict(name_or_node)


def _text_cache(setting: bool | str | Path | None) -> TextCache:
    if setting is False:
        return TextCache(None)
    if setting is None or setting is True:
        return TextCache(cache_folder() / "text")
    return TextCache(Path(setting).expanduser())


def _build(node: Mapping[str, Any], text_cache: TextCache, weights: str | None) -> Method:
    """The method with its weights, on the CPU; None is for a method that has none."""
    if weights is None:
        return cast(Method, build_component("methods", node, [text_cache], path="model"))
    if weights == RANDOM:
        warnings.warn(
            f"'{node['name']}' has random weights: it is untrained and its masks mean nothing.", stacklevel=3
        )
        return cast(Method, build_component("methods", node, [text_cache], path="model"))
    # On the meta device nothing is allocated or drawn; the file's tensors then take the places.
    with torch.device("meta"):
        method = cast(Method, build_component("methods", node, [text_cache], path="model"))
    if weights == PARTS:
        load_parts(method)
        return method
    path = fetch(weights)
    logger.info("weights: %s", path)
    method.load_weights(path)
    return method


def load_parts(method: Method) -> None:
    """Fill every part that has published weights of its own.

    Raises:
        WeightsError: a file cannot be had or does not fit, or a part that needs weights names none.
    """
    if not isinstance(method, torch.nn.Module):
        raise ConfigError(
            f"weights=parts: {type(method).__name__} is no torch module; its parts are unknown."
        )
    for name, part in method.named_modules():
        if name and isinstance(part, Pretrained) and part.weights_name is not None:
            path = fetch(part.weights_name)
            logger.info("weights of %s: %s", name, path)
            part.load_weights(path)
    empty = [name for name, tensor in method.state_dict().items() if tensor.is_meta]
    if empty:
        raise WeightsError(
            f"weights=parts: no part says where its weights are that '{empty[0]}' and {len(empty) - 1} more "
            "tensors could be filled from. Name them in the part's node (pretrained or checkpoint), or give "
            "weights=PATH for the whole method."
        )
