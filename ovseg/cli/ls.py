"""``ovseg ls``: what there is, from where, and whether it is on disk."""

import argparse
from collections.abc import Sequence

from ovseg.cli.inventory import KINDS
from ovseg.cli.tables import show
from ovseg.errors import ConfigError
from ovseg.suggest import did_you_mean, listed

__all__ = ["KINDS", "main"]

DESCRIPTION = """List what this installation has: models, their parts, class lists, data sets, evaluators and
published weights, each with where it is from."""

EXAMPLES = """examples
  ovseg ls                        everything
  ovseg ls models weights         what can be predicted with, and which weights are on disk
  ovseg ls vocabularies --json    for programs"""


def main(argv: Sequence[str]) -> int:
    """Print what was asked for.

    Raises:
        ConfigError: there is no such kind of thing.
    """
    parser = argparse.ArgumentParser(
        "ovseg ls",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"any of: {listed(KINDS)}; none means all")
    parser.add_argument("--json", action="store_true", help="print JSON, with all details")
    words = parser.parse_args(argv)
    for kind in words.kinds:
        if kind not in KINDS:
            raise ConfigError(
                f"'ovseg ls' knows no '{kind}'.{did_you_mean(kind, KINDS)} Known: {listed(KINDS)}."
            )
    show([KINDS[kind]() for kind in words.kinds or KINDS], as_json=words.json)
    return 0
