"""``ovseg check``: what is wrong with this installation, and what to do about it."""

import argparse
import dataclasses
import json
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module

from ovseg.cli.checks.finding import Finding
from ovseg.errors import ConfigError
from ovseg.plugins import PluginWarning
from ovseg.suggest import did_you_mean, listed

DESCRIPTION = """Look for faults, section by section, and say what to do about each. Exits with 1 if there is
a fault; notes, such as weights that are not on disk yet, are none."""

EXAMPLES = """examples
  ovseg check                      everything (a minute)
  ovseg check configs plugins      after writing a config or a plugin
  ovseg check data                 every file of every data set that is on disk (minutes)
  ovseg check data dataset=folder dataset.root=my_data         only this one
  ovseg check --json               for programs"""

SECTIONS: Mapping[str, str] = {
    "environment": "ovseg.cli.checks.environment:check_environment",
    "plugins": "ovseg.cli.checks.parts:check_plugins",
    "configs": "ovseg.cli.checks.configs:check_configs",
    "weights": "ovseg.cli.checks.weights:check_weights",
    "data": "ovseg.cli.checks.data:check_data",
}
"""What users type after ``ovseg check`` -> what looks; imported when asked for, because some need torch."""

_STYLES = {"ok": "green", "note": "yellow", "fault": "bold red"}


def main(argv: Sequence[str]) -> int:
    """Print the findings of the sections that were asked for.

    Returns:
        0, or 1 when there is a fault.

    Raises:
        ConfigError: there is no such section.
    """
    parser = argparse.ArgumentParser(
        "ovseg check",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"any of: {listed(SECTIONS)}; none means all"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    words = parser.parse_args(argv)
    overrides = [word for word in words.sections if "=" in word]
    sections = [word for word in words.sections if "=" not in word]
    if overrides and sections != ["data"]:
        raise ConfigError(f"Only the section data takes keys: ovseg check data {' '.join(overrides)}.")
    for section in sections:
        if section not in SECTIONS:
            raise ConfigError(
                f"'ovseg check' knows no '{section}'.{did_you_mean(section, SECTIONS)} Known: "
                f"{listed(SECTIONS)}."
            )
    with warnings.catch_warnings():
        # The section on plugins says the same, with a remedy.
        warnings.simplefilter("ignore", PluginWarning)
        # All sections together take seconds, so data sets are looked through only when asked for.
        chosen = overrides if "data" in sections else None
        return _report(sections or list(SECTIONS), chosen, as_json=words.json)


def _report(sections: Sequence[str], overrides: Sequence[str] | None, *, as_json: bool) -> int:
    """Print what the sections find, as they find it, and return the exit code."""
    report: dict[str, list[Finding]] = {section: [] for section in sections}
    for section, found in report.items():
        if not as_json:
            print(section, flush=True)
        for finding in findings(section, overrides):
            found.append(finding)
            if not as_json:
                _say(finding)
    levels = [finding.level for found in report.values() for finding in found]
    if as_json:
        plain = {
            section: [dataclasses.asdict(finding) for finding in found] for section, found in report.items()
        }
        print(json.dumps(plain, indent=2, ensure_ascii=False))
    else:
        print(f"faults: {levels.count('fault')}, notes: {levels.count('note')}")
    return 1 if "fault" in levels else 0


def findings(section: str, overrides: Sequence[str] | None = None) -> Iterator[Finding]:
    """What a section finds, as it finds it.

    Args:
        section: a key of `SECTIONS`.
        overrides: what the section on data sets takes, see `ovseg.cli.checks.data.check_data`.
    """
    module, _, name = SECTIONS[section].partition(":")
    look: Callable[..., Iterator[Finding]] = getattr(import_module(module), name)
    return look(overrides) if section == "data" else look()


def _say(finding: Finding) -> None:
    """One finding: coloured on a terminal, plain elsewhere, never cut."""
    from rich.console import Console
    from rich.text import Text

    remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
    text = textwrap.indent(finding.text + remedy, " " * 9).lstrip()
    line = Text.assemble("  ", (finding.level.ljust(5), _STYLES[finding.level]), "  ", text)
    Console().print(line, soft_wrap=True)
