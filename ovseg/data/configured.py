"""Data sets by the name of their config: ``dataset=coco_panoptic`` is ``conf/dataset/coco_panoptic.yaml``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ovseg.build import build_component
from ovseg.config import compose_config, config_groups
from ovseg.config_errors import clean_error
from ovseg.errors import ConfigError
from ovseg.suggest import did_you_mean, listed

GROUP = "dataset"


def dataset_names() -> tuple[str, ...]:
    """What can be typed after ``dataset=``, sorted."""
    return tuple(config_groups().get(GROUP, ()))


def compose_dataset(config: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The node that ``dataset=<config>`` stands for, as plain values.

    Args:
        config: of a file of the group ``dataset``.
        overrides: as typed: ``dataset.root=/data/coco``, ``dataset.split=train``.

    Raises:
        ConfigError: a name or an override is not known, or a value that must be given is not.
    """
    if config not in dataset_names():
        raise ConfigError(
            f"There is no dataset '{config}'.{did_you_mean(config, dataset_names())} Known: "
            f"{listed(dataset_names())}. 'ovseg ls datasets' describes them."
        )
    composed = compose_config(None, [f"+{GROUP}={config}", *overrides])
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        add = " ".join(f"{key}=..." for key in missing)
        raise ConfigError(f"Not given: {', '.join(missing)}. Add {add}.")
    try:
        node = OmegaConf.to_container(composed[GROUP], resolve=True)
    except OmegaConfBaseException as error:
        raise clean_error(error) from error
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def read_node(path: Path) -> dict[str, Any] | None:
    """The node in a file of the group ``dataset``, without Hydra, which takes a tenth of a second.

    Returns:
        Plain values; None where only Hydra can tell them, because the file builds on others.
    """
    content = OmegaConf.load(path)
    if "defaults" in content or OmegaConf.missing_keys(content):
        return None
    node = OmegaConf.to_container(content, resolve=True)
    return {str(key): value for key, value in node.items()} if isinstance(node, dict) else None


def build_dataset(config: str, overrides: Sequence[str] = ()) -> Any:  # noqa: ANN401
    """The `ovseg.interfaces.Dataset` that ``dataset=<config>`` stands for; reads no file of it.

    Raises:
        ConfigError: as `compose_dataset`, or an argument is unknown, missing or of a wrong type.
    """
    return build_component("datasets", compose_dataset(config, overrides), path=GROUP)
