"""The plugins: each is imported, and their names are compared."""

from collections.abc import Iterator

from ovseg.cli.checks.finding import Finding, fault, note, ok
from ovseg.config import conf_dir, plugin_conf_dirs
from ovseg.plugins import CONF_GROUP, plugins
from ovseg.registry import BUILT_IN, REGISTRIES

_REMEDY = "Repair or uninstall that package; until then everything else works."


def check_plugins() -> Iterator[Finding]:
    """Findings on everything that other installed packages bring."""
    groups = (*(registry.group for registry in REGISTRIES.values()), CONF_GROUP)
    found = [plugin for group in groups for plugin in plugins(group)]
    if not found:
        yield note("No plugin is installed.")
        return
    faults = [text for registry in REGISTRIES.values() for text in registry.faults()]
    faults += [plugin.complaint for plugin in plugins(CONF_GROUP) if plugin.fault is not None]
    for plugin in found:
        if not any(text.startswith(plugin.label) for text in faults):
            yield ok(f"{plugin.name} ({plugin.group}) of the package '{plugin.owner}'")
    for text in faults:
        yield fault(text, _REMEDY)
    yield from _hidden_configs()


def _hidden_configs() -> Iterator[Finding]:
    """Config files that Hydra never reads, because another package has one of the same name before them."""
    owners: dict[str, str] = {}
    for owner, folder in ((BUILT_IN, conf_dir()), *plugin_conf_dirs()):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).as_posix()
            if name in owners:
                yield fault(
                    f"The config {name} of the package '{owner}' is never read: {_owner(owners[name])} has "
                    "one of that name, which comes first.",
                    f"Rename {path}.",
                )
            else:
                owners[name] = owner


def _owner(origin: str) -> str:
    return "ovseg itself" if origin == BUILT_IN else f"the package '{origin}'"
