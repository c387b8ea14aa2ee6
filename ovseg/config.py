"""Hydra's YAML to plain values: where it lies, how it is composed, what is refused.

Nothing outside this module and `ovseg.cli` sees a ``DictConfig``.
"""

import atexit
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ConfigDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ovseg.build import build_component
from ovseg.config_errors import clean_error
from ovseg.errors import ConfigError, OvsegError
from ovseg.plugins import CONF_GROUP, locate, plugins, warn_of
from ovseg.schema import SCHEMAS
from ovseg.suggest import did_you_mean, listed
from ovseg.vocabulary import vocabulary_names

VERSION_BASE = "1.3"

NO_VOCABULARY = "own"
"""What stands for classes that are no built-in list; no file of the group ``vocabulary`` is called so."""

Schema = TypeVar("Schema")


def conf_dir() -> Path:
    """The folder of ovseg's own YAML: inside the installed package, or at the top of a checkout."""
    packaged = Path(str(files("ovseg"))) / "conf"
    return packaged if packaged.is_dir() else packaged.parent.parent / "conf"


def plugin_conf_dirs() -> list[tuple[str, Path]]:
    """(distribution, folder) of each plugin's YAML; warns of each that is not there."""
    found = []
    for plugin in plugins(CONF_GROUP):
        if plugin.fault is not None:
            warn_of(plugin)
            continue
        spec = locate(plugin.target)
        assert spec is not None
        found += [(plugin.owner, Path(folder)) for folder in spec.submodule_search_locations or ()]
    return found


def config_groups() -> dict[str, list[str]]:
    """Group -> its options, ovseg's and plugins', sorted; Hydra's own groups and root configs left out."""
    found: dict[str, set[str]] = {}
    for folder in (conf_dir(), *(folder for _, folder in plugin_conf_dirs())):
        for file in folder.rglob("*.yaml"):
            group = file.parent.relative_to(folder).as_posix()
            if group != "." and group.split("/")[0] != "hydra":
                found.setdefault(group, set()).add(file.stem)
    return {group: sorted(found[group]) for group in sorted(found)}


class _PluginConfigs(SearchPathPlugin):
    """Adds the plugins' YAML behind ovseg's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for owner, folder in plugin_conf_dirs():
            search_path.append(provider=owner, path=f"file://{folder}")


def set_up_hydra() -> None:
    """Tell Hydra of plugins, schemas and the resolver that recipes use; may be called again."""
    Plugins.instance().register(_PluginConfigs)
    for verb, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{verb}_schema", node=_open_schema(schema), provider="ovseg")
    OmegaConf.register_new_resolver("method_of", _method_of, replace=True)
    OmegaConf.register_new_resolver("training_of", _training_of, replace=True)
    OmegaConf.register_new_resolver("vocabulary_of", _vocabulary_of, replace=True)
    OmegaConf.register_new_resolver("scratch_dir", _scratch_dir, replace=True)


def _method_of(model: str) -> str:
    """The registry name of the method that a file of the group ``model`` configures.

    Lets all variants of a method share its recipes: ``model=fcclip_r50`` finds ``recipe/fcclip-cityscapes``.
    """
    loaded = GlobalHydra.instance().config_loader().repository.load_config(f"model/{model}")  # type: ignore[attr-defined]
    if loaded is None:  # Hydra itself reports the unknown model a moment later
        return model
    if isinstance(loaded.config, DictConfig) and "name" in loaded.config:
        return str(loaded.config["name"])
    for default in loaded.defaults_list or ():
        if isinstance(default, ConfigDefault) and default.path not in (None, "_self_"):
            return _method_of(str(default.path).removeprefix("/model/"))
    return model


def _training_of(model: str) -> str:
    """The file of the group ``training`` for one of the group ``model``: its own, or that of its method."""
    return model if _has_training(model) else _method_of(model)


def is_trained(model: str) -> bool:
    """Whether ``ovseg train`` knows how a model of that name is trained; inside a `hydra_session` only."""
    return _has_training(_training_of(model))


def _has_training(name: str) -> bool:
    loader: Any = GlobalHydra.instance().config_loader()
    return loader.repository.load_config(f"training/{name}") is not None


def _vocabulary_of(dataset: str) -> str:
    """The built-in list of the classes of what a file of the group ``dataset`` configures; ``own`` if none.

    The data set itself is asked, so that those of plugins need not be listed here; none of its files is read.
    One whose classes depend on the split (`vocabulary_by_split`) says them when it is built for use.
    """
    loaded = GlobalHydra.instance().config_loader().repository.load_config(f"dataset/{dataset}")  # type: ignore[attr-defined]
    if loaded is None or OmegaConf.missing_keys(loaded.config):
        return NO_VOCABULARY
    node = OmegaConf.to_container(loaded.config, resolve=True)
    assert isinstance(node, dict)
    try:
        built = build_component("datasets", {str(k): v for k, v in node.items()}, path="dataset")
        name = built.vocabulary.name
    except OvsegError:  # said in full when the data set is built for use
        return NO_VOCABULARY
    own_word = getattr(built, "vocabulary_by_split", False) or name not in vocabulary_names()
    return NO_VOCABULARY if own_word else str(name)


@lru_cache
def _scratch_dir() -> str:
    """A folder for what Hydra writes about a multirun and nobody reads; gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="ovseg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def hydra_session() -> Iterator[None]:
    """Hydra made ready for `compose`, leaving the caller's own Hydra run, if any, as it was."""
    set_up_hydra()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base=VERSION_BASE, config_dir=str(conf_dir()), job_name="ovseg"):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def compose_config(verb: str | None, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config of a verb, or an empty one (None), as the command line would.

    Raises:
        ConfigError: a group, an option, a key or a value is not known.
    """
    with hydra_session():
        try:
            return compose(verb, overrides=list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise clean_error(error, lambda: known_keys(verb, overrides)) from error


def known_keys(verb: str | None, overrides: Sequence[str]) -> tuple[str, ...]:
    """Every key and group that an override of this config could have meant, for near names.

    Must be called inside a `hydra_session` or a running Hydra verb. Only the choices of groups are applied,
    because the other overrides may be what is wrong.
    """
    loader = GlobalHydra.instance().config_loader()
    groups = loader.list_groups("")
    choices = [word for word in overrides if _is_choice(word, groups)]
    try:
        composed = compose(verb, overrides=choices)
    except (HydraException, OmegaConfBaseException):
        composed = compose(verb)
    sub_groups = [
        f"{group}/{sub}" for group in groups if group != "hydra" for sub in loader.list_groups(group)
    ]
    return (
        *_paths(OmegaConf.to_container(composed)),
        *sub_groups,
        *(g for g in groups if g != "hydra" and g not in composed),
    )


def _is_choice(override: str, groups: Sequence[str]) -> bool:
    key = override.lstrip("+").partition("=")[0]
    return key == "hydra.searchpath" or ("." not in key and key.split("/")[0] in groups)


def compose_model(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The method node that ``model=<name>`` stands for, as plain values.

    Args:
        name: of a file of the group ``model``.
        overrides: as they are typed after ``ovseg predict``: ``model.short_side=640``,
            ``model/backbone=clip_resnet50``.

    Raises:
        ConfigError: a name or an override is not known.
    """
    composed = compose_config(None, [f"+model={name}", *overrides])
    try:
        node = OmegaConf.to_container(composed.model, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise clean_error(error) from error
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def strict(config: DictConfig, schema: type[Schema]) -> Schema:
    """Turn what Hydra composed into its dataclass, once, refusing every key that the class does not have.

    Raises:
        ConfigError: keys are unknown, missing, or hold a value that is not allowed; names all of a kind.
    """
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    unknown = [
        f"There is no key '{key}'.{did_you_mean(key, known)} Known: {listed(known)}."
        for key, known in _unknown(plain, schema)
    ]
    if unknown:
        raise ConfigError("\n".join(unknown))
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            add = " ".join(f"{key}=..." for key in missing)
            raise ConfigError(f"Not given: {', '.join(missing)}. Add {add}.")
        made = OmegaConf.to_object(OmegaConf.merge(_open_schema(schema), plain))
    except OmegaConfBaseException as error:
        raise clean_error(error) from error
    problems = _problems(made)
    if problems:
        raise ConfigError("\n".join(problems))
    assert isinstance(made, schema)
    return made


def _open_schema(schema: type) -> DictConfig:
    """A schema that can be merged into: OmegaConf reads "frozen" as "never", also while it composes."""
    node: DictConfig = OmegaConf.structured(schema)
    OmegaConf.set_readonly(node, None)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            OmegaConf.set_readonly(node[field.name], None)
    return node


def _paths(node: object, prefix: str = "") -> Iterator[str]:
    """The dotted paths of a nested mapping, inner nodes included."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")


def _unknown(
    plain: Mapping[Any, Any], schema: type, prefix: str = ""
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(key that the class does not have, the keys that it has), nested classes included."""
    fields = {field.name: field.type for field in dataclasses.fields(schema)}
    for key, value in plain.items():
        kind = fields.get(key)
        if kind is None:
            yield f"{prefix}{key}", tuple(f"{prefix}{name}" for name in fields)
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            yield from _unknown(value, kind, f"{prefix}{key}.")


def _problems(made: Any, prefix: str = "") -> list[str]:  # noqa: ANN401 (any dataclass)
    """What the classes of a tree themselves find wrong, with full keys."""
    found = [f"{prefix}{problem}" for problem in made.problems()]
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        if dataclasses.is_dataclass(value):
            found += _problems(value, f"{prefix}{field.name}.")
    return found
