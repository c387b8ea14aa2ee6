"""What other installed packages offer by entry points, found without importing any of them.

A package adds parts with, in its pyproject.toml,

    [project.entry-points."ovseg.backbones"]
    my_vit = "my_package.vit:MyViT"

    [project.entry-points."ovseg.conf"]
    my_package = "my_package.conf"
"""

import importlib.util
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points

CONF_GROUP = "ovseg.conf"

_MODULE = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_OBJECT = re.compile(f"{_MODULE}:{_MODULE}")
_PACKAGE = re.compile(_MODULE)


class PluginWarning(UserWarning):
    """An installed plugin cannot be used; everything else works."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of another package.

    Attributes:
        name: what users type.
        target: ``module:attribute``; for `CONF_GROUP` a package that holds YAML.
        owner: the distribution that declares it.
        summary: the one-line description of that distribution.
        fault: why it cannot work, as far as can be told without importing it; None if nothing was found.
    """

    group: str
    name: str
    target: str
    owner: str
    summary: str
    fault: str | None

    @property
    def complaint(self) -> str:
        """The fault with the plugin's name and owner."""
        return f"{self.label} cannot be used: {self.fault}"

    @property
    def label(self) -> str:
        """What an error calls it."""
        return f"The plugin '{self.name}' ({self.group}) of the package '{self.owner}'"


def plugins(group: str) -> tuple[Plugin, ...]:
    """Every plugin of a group, the broken ones too, ordered by name and owner."""
    found = [_plugin(point) for point in _entry_points(group)]
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.owner)))


def warn_of(plugin: Plugin) -> None:
    """Say that a plugin is left out, and why."""
    warnings.warn(plugin.complaint, PluginWarning, stacklevel=3)


def locate(module: str) -> ModuleSpec | None:
    """Where a module would be imported from, without running any code of it or of its parent packages."""
    head, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(head)
    except (ImportError, ValueError):
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # By its last name only: for the full one the parent package would have to be imported.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


@lru_cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of every installed distribution, read once per process and group."""
    return tuple(entry_points(group=group))


def _plugin(point: EntryPoint) -> Plugin:
    # Entry points that are made by hand, not read from an installed package, have no distribution.
    owner, summary = "(unknown)", ""
    if point.dist is not None:
        metadata = point.dist.metadata
        owner, summary = metadata["Name"], metadata["Summary"] if "Summary" in metadata else ""  # noqa: SIM401
    return Plugin(point.group, point.name, point.value.strip(), owner, summary, _static_fault(point))


def _static_fault(point: EntryPoint) -> str | None:
    target = point.value.strip()
    form, example = (
        (_PACKAGE, "my_package.conf") if point.group == CONF_GROUP else (_OBJECT, "my_package.module:Name")
    )
    if not form.fullmatch(target):
        return f"its entry point '{target}' is malformed, it must look like '{example}'."
    module = target.partition(":")[0]
    spec = locate(module)
    if spec is None:
        return f"there is no module '{module}'."
    if point.group == CONF_GROUP and not spec.submodule_search_locations:
        return f"'{module}' is a file; it must be a package (a folder of YAML files)."
    return None
