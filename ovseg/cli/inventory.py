"""What this installation has, kind by kind, as rows. Reads tables of strings and YAML; imports no torch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ovseg.build import build_component
from ovseg.cli.tables import Row, Table
from ovseg.config import conf_dir, plugin_conf_dirs
from ovseg.data.configured import GROUP, build_dataset, read_node
from ovseg.errors import OvsegError
from ovseg.registry import BUILT_IN, REGISTRIES
from ovseg.vocabulary import vocabulary_info, vocabulary_names
from ovseg.weights import zoo


@dataclass(frozen=True)
class ConfigFile:
    """One option of a config group.

    Attributes:
        name: what users type after ``group=``.
        origin: `BUILT_IN` or the distribution that brings it.
    """

    name: str
    path: Path
    origin: str

    @property
    def content(self) -> Mapping[str, Any]:
        """The keys in the file itself, without what its defaults add."""
        loaded = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        return loaded if isinstance(loaded, Mapping) else {}

    @property
    def summary(self) -> str:
        """The first comment of the file that is for people."""
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#") and "@package" not in line:
                return line.lstrip("# ").strip()
        return ""


def config_files(group: str) -> Iterator[ConfigFile]:
    """The options of a group, sorted; where two packages have the same one, Hydra's choice: the first."""
    found: dict[str, ConfigFile] = {}
    for origin, folder in ((BUILT_IN, conf_dir()), *plugin_conf_dirs()):
        for path in (folder / group).glob("*.yaml"):
            found.setdefault(path.stem, ConfigFile(path.stem, path, origin))
    yield from (found[name] for name in sorted(found))


def models() -> Table:
    """What can be typed after ``model=``."""
    files = {file.name: file for file in config_files("model")}
    rows: list[Row] = []
    for name, file in files.items():
        weights = _inherited(files, name, "weights")
        rows.append(
            {
                "name": name,
                "method": _inherited(files, name, "name"),
                "backbone": _inherited(files, name, "backbone"),
                "weights": weights,
                "on_disk": _is_on_disk(weights),
                "from": file.origin,
                "what": file.summary,
            }
        )
    return Table(
        "models", "Models (model=NAME)", rows, "None is installed.", optional=("method", "from", "backbone")
    )


def parts(kind: str) -> Table:
    """The registered parts of a kind, and the configs that use each."""
    registry = REGISTRIES[kind]
    group = PART_GROUPS.get(kind, f"model/{registry.kind.replace(' ', '_')}")
    users: dict[str, list[str]] = {}
    for file in config_files(group):
        users.setdefault(str(file.content.get("name")), []).append(file.name)
    rows: list[Row] = []
    for name in registry.names():
        entry = registry.entry(name)
        rows.append(
            {"name": name, "configs": users.get(name, []), "from": entry.origin, "what": entry.description}
        )
    title = f"{registry.kind.capitalize()}s ({group}=CONFIG)"
    return Table(kind, title, rows, "None is registered.")


def registered(kind: str) -> Table:
    """The registered names of a kind that is no part of a model."""
    registry = REGISTRIES[kind]
    entries = [registry.entry(name) for name in registry.names()]
    rows: list[Row] = [
        {"name": entry.name, "from": entry.origin, "what": entry.description} for entry in entries
    ]
    return Table(kind, f"{registry.kind.capitalize()}s", rows, "None is registered.")


def datasets() -> Table:
    """What can be typed after ``dataset=``."""
    rows: list[Row] = []
    for file in config_files(GROUP):
        built = _dataset(file)
        info, place = getattr(built, "info", None), getattr(built, "place", None)
        rows.append(
            {
                "name": file.name,
                "tasks": list(built.tasks) if built else None,
                "classes": _classes(built),
                "pictures": [f"{split} {count}" for split, count in info.pictures.items()] if info else None,
                "on_disk": str(place) if place else None,
                "from": file.origin,
                "what": file.summary,
                "source": info.source if info else None,
                "licence": info.licence if info else None,
            }
        )
    return Table(
        "datasets",
        "Data sets (dataset=NAME)",
        rows,
        "None is configured.",
        optional=("from", "source", "what", "licence", "pictures"),
    )


def _classes(dataset: Any) -> int | None:  # noqa: ANN401
    """How many classes a data set has; None where only files that are not there could tell."""
    try:
        return len(dataset.vocabulary) if dataset else None
    except OvsegError:
        return None


def _dataset(file: ConfigFile) -> Any:  # noqa: ANN401
    """A data set as its config stands; None if it needs keys, or is a plugin's that cannot be used."""
    try:
        node = read_node(file.path)
        return build_component("datasets", node, path=GROUP) if node else build_dataset(file.name)
    except OvsegError:
        return None


def vocabularies() -> Table:
    """The built-in class lists."""
    infos = [vocabulary_info(name) for name in vocabulary_names()]
    rows: list[Row] = [
        {
            "name": info.name,
            "classes": info.classes,
            "names": info.names,
            "from": BUILT_IN,
            "what": info.title,
            "licence": info.licence,
            "sources": info.sources,
        }
        for info in infos
    ]
    return Table(
        "vocabularies", "Vocabularies (vocabulary=NAME)", rows, "None.", frozenset({"sources"}), ("licence",)
    )


def weights() -> Table:
    """The published weights that have a name here."""
    rows: list[Row] = []
    for entry in zoo.ZOO.values():
        path = zoo.locate(entry)
        rows.append(
            {
                "name": entry.name,
                "on_disk": path is not None,
                "size": path.stat().st_size if path else entry.size,
                "licence": entry.licence,
                "what": entry.what,
                "source": entry.source,
                "path": str(path) if path else None,
                "sha256": entry.sha256,
            }
        )
    title = f"Weights (model.weights=NAME; on disk in {zoo.weights_folder()})"
    return Table(
        "weights", title, rows, "None.", frozenset({"path", "sha256"}), ("source", "what", "size", "licence")
    )


PART_GROUPS = {"last_blocks": "model/backbone/last_block"}
"""Registry -> the config group of its parts, where it is not named after the kind."""

KINDS: Mapping[str, Callable[[], Table]] = {
    "models": models,
    "backbones": lambda: parts("backbones"),
    "last_blocks": lambda: parts("last_blocks"),
    "mask_generators": lambda: parts("mask_generators"),
    "classifiers": lambda: parts("classifiers"),
    "datasets": datasets,
    "vocabularies": vocabularies,
    "evaluators": lambda: registered("evaluators"),
    "weights": weights,
}
"""What users type after ``ovseg ls`` -> what it lists."""


def _inherited(files: Mapping[str, ConfigFile], name: str, key: str) -> str | None:
    """A key of a model's file or, for what a file does not say, of the files in its defaults.

    Composing with Hydra gives the same and takes a tenth of a second per model, which listing need not pay.
    """
    if name not in files:
        return None
    content = files[name].content
    if isinstance(content.get(key), str):
        return str(content[key])
    found = None
    for default in content.get("defaults", ()):
        if isinstance(default, Mapping):
            for group, option in default.items():
                if group.removeprefix("override ").removeprefix("/model/") == key and isinstance(option, str):
                    found = option
        elif isinstance(default, str):
            found = _inherited(files, default.removeprefix("/model/"), key) or found
    return found


def _is_on_disk(weights: str | None) -> bool | None:
    """Whether weights are there; None for names that only open_clip's table, which needs torch, can tell."""
    if weights is None:
        return None
    if Path(weights).expanduser().is_file():
        return True
    return zoo.locate(zoo.ZOO[weights]) is not None if weights in zoo.ZOO else None
