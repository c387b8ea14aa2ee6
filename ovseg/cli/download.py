"""``ovseg download``: published weights into the cache folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ovseg.cli.inventory import weights
from ovseg.cli.tables import show
from ovseg.config import compose_model, config_groups
from ovseg.errors import WeightsError
from ovseg.weights import zoo
from ovseg.weights.fetch import fetch_entry
from ovseg.weights.parts import PARTS, part_weights

DESCRIPTION = """Fetch published weights into the cache folder, where every verb finds them. A download that
broke off goes on where it stopped; what is there already is not fetched again. Prints each file's path."""

EXAMPLES = """examples
  ovseg download fcclip                 FC-CLIP's main checkpoint
  ovseg download trident                everything that a model of that name needs
  ovseg download RN50:openai            a CLIP of open_clip, as architecture:tag
  ovseg download --list                 what has a name here, and what is on disk

environment
  OVSEG_CACHE     the cache folder
  OVSEG_MIRROR    a server (https://...) or a folder that has the files, used instead of the publishers'"""


def main(argv: Sequence[str]) -> int:
    """Fetch what was asked for; goes on with the next after a failure.

    Returns:
        0, or 1 when something could not be fetched.
    """
    parser = argparse.ArgumentParser(
        "ovseg download",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a name of --list, a model, or architecture:tag"
    )
    parser.add_argument("--all", action="store_true", help="everything that --list shows (tens of gigabytes)")
    parser.add_argument("--list", action="store_true", help="only show what there is")
    words = parser.parse_args(argv)
    if words.list:
        show([weights()], as_json=False)
        return 0
    if not (words.names or words.all):
        parser.error("name what to fetch (ovseg download --list shows what there is), or give --all")
    wanted = zoo.ZOO if words.all else [one for name in words.names for one in _weights_of(name)]
    names = list(dict.fromkeys(wanted))
    # Misspelt names are said before the first of many long downloads.
    for name in names:
        zoo.find(name)
    failures = [name for name in names if not _fetched(name)]
    if failures:
        print(f"ovseg: {len(failures)} of {len(names)} not fetched: {', '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


def _weights_of(name: str) -> list[str]:
    """The weights behind a name: its own, or those of a model's parts."""
    if name in zoo.ZOO or name not in config_groups()["model"]:
        return [name]
    node = compose_model(name)
    weights = node.get("weights")
    if weights != PARTS:
        return [str(weights)] if weights else []
    return [one for one in part_weights(node) if not Path(one).is_file()]


def _fetched(name: str) -> bool:
    try:
        entry = zoo.find(name)
        path = fetch_entry(entry)
        if entry.shipped is not None:
            print(f"ovseg: '{name}' {zoo.SHIPPED}", file=sys.stderr)
        print(path, flush=True)
    except WeightsError as error:
        print(f"ovseg: {error}", file=sys.stderr)
        return False
    return True
