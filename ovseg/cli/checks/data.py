"""Data sets: the folder that they lie in, and which ones are known."""

import os
from collections.abc import Iterator
from pathlib import Path

from ovseg.cli.checks.finding import Finding, fault, note, ok
from ovseg.registry import DATASETS
from ovseg.suggest import listed


def check_data() -> Iterator[Finding]:
    """Findings on the data folder and the registered data sets."""
    given = os.environ.get("OVSEG_DATA")
    if not given:
        yield note(
            "OVSEG_DATA is not set.",
            "Set it to the folder of your data sets; pictures of your own need none.",
        )
    elif Path(given).expanduser().is_dir():
        yield ok(f"OVSEG_DATA={given}")
    else:
        yield fault(
            f"OVSEG_DATA={given} is no folder.", "Set it to the folder of your data sets, or unset it."
        )
    names = DATASETS.names()
    yield ok(f"registered: {listed(names)}") if names else note("No data set is registered.")
