"""``ovseg prepare``: the files that a data set needs beside what its publisher's archives hold."""

import argparse
import sys
from collections.abc import Sequence

from ovseg.data.configured import build_dataset, compose_dataset, dataset_names
from ovseg.data.preparation import prepare
from ovseg.errors import OvsegError
from ovseg.suggest import listed

DESCRIPTION = """Make the files that a data set needs beside its download: label maps with other numbers,
lists of segments. What is there already is kept, so running it twice changes nothing, and after an
interruption it goes on where it stopped. Every file is written whole or not at all."""

EXAMPLES = """examples
  ovseg prepare ade20k_panoptic root=/data/ADEChallengeData2016
  ovseg prepare coco_stuff split=train       in OVSEG_DATA/coco
  ovseg prepare --list                       the data sets, and which of them need it

KEY=VALUE is any key of the data set's config (conf/dataset), as root and split."""


def main(argv: Sequence[str]) -> int:
    """Prepare what was asked for; goes on with the next data set after a failure.

    Returns:
        0, or 1 when something could not be prepared.
    """
    parser = argparse.ArgumentParser(
        "ovseg prepare",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="DATASET|KEY=VALUE", help=listed(dataset_names()))
    parser.add_argument("--threads", type=int, metavar="N", help="that work at once; else one per processor")
    parser.add_argument("--list", action="store_true", help="only show what there is")
    given = parser.parse_intermixed_args(argv)
    names = [word for word in given.words if "=" not in word]
    overrides = [_full(word) for word in given.words if "=" in word]
    if given.list:
        return _list(names or dataset_names())
    if not names:
        parser.error("name what to prepare (ovseg prepare --list shows what there is)")
    if given.threads is not None and given.threads < 1:
        parser.error(f"--threads {given.threads}: must be at least 1")
    # Misspelt names and keys are said before the first of many long jobs.
    for name in names:
        compose_dataset(name, overrides)
    failures = [name for name in names if not _prepared(name, overrides, given.threads)]
    if failures:
        print(f"ovseg: {len(failures)} of {len(names)} not prepared: {listed(failures)}", file=sys.stderr)
    return 1 if failures else 0


def _full(word: str) -> str:
    """``root=DIR`` as ``dataset.root=DIR``."""
    return word if word.startswith("dataset.") else f"dataset.{word}"


def _list(names: Sequence[str]) -> int:
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {_described(name)}")
    return 0


def _described(name: str) -> str:
    try:
        preparations = getattr(build_dataset(name), "preparations", ())
    except OvsegError as error:
        return f"cannot be told: {error}"
    return listed(one.what for one in preparations) if preparations else "needs no preparation"


def _prepared(name: str, overrides: Sequence[str], threads: int | None) -> bool:
    try:
        preparations = getattr(build_dataset(name, overrides), "preparations", ())
        for preparation in preparations:
            outcome = prepare(preparation, threads=threads)
            print(
                f"{name}: {preparation.what} in {preparation.folder}: {outcome.made} made, "
                f"{outcome.kept} were there.",
                flush=True,
            )
    except OvsegError as error:
        print(f"ovseg: {name}: {error}", file=sys.stderr)
        return False
    if not preparations:
        print(f"{name} needs no preparation: its files are read as they are.")
    return True
