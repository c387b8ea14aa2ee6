"""``ovseg download``: published weights into the cache folder."""

import argparse
import sys
from collections.abc import Sequence

from ovseg.cli.inventory import weights
from ovseg.cli.tables import show
from ovseg.errors import WeightsError
from ovseg.weights import zoo
from ovseg.weights.fetch import fetch_entry

DESCRIPTION = """Fetch published weights into the cache folder, where every verb finds them. A download that
broke off goes on where it stopped; what is there already is not fetched again. Prints each file's path."""

EXAMPLES = """examples
  ovseg download fcclip                 FC-CLIP's main checkpoint
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
        "names", nargs="*", metavar="NAME", help="a name of --list, or architecture:tag of open_clip"
    )
    parser.add_argument("--all", action="store_true", help="everything that --list shows (tens of gigabytes)")
    parser.add_argument("--list", action="store_true", help="only show what there is")
    words = parser.parse_args(argv)
    if words.list:
        show([weights()], as_json=False)
        return 0
    names = list(zoo.ZOO) if words.all else words.names
    if not names:
        parser.error("name what to fetch (ovseg download --list shows what there is), or give --all")
    # Misspelt names are said before the first of many long downloads.
    for name in names:
        zoo.find(name)
    failures = [name for name in names if not _fetched(name)]
    if failures:
        print(f"ovseg: {len(failures)} of {len(names)} not fetched: {', '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


def _fetched(name: str) -> bool:
    try:
        entry = zoo.find(name)
        print(fetch_entry(entry), flush=True)
    except WeightsError as error:
        print(f"ovseg: {error}", file=sys.stderr)
        return False
    return True
