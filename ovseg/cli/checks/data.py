"""Data sets: the folder that they lie in, which of them are there, and what is wrong with those."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ovseg.cli.checks.finding import Finding, fault, note, ok
from ovseg.data.configured import GROUP, build_dataset, dataset_names
from ovseg.errors import AbsentDataError, ConfigError, OvsegError
from ovseg.suggest import listed

_CHOICE = f"{GROUP}="


def check_data(overrides: Sequence[str] | None = None) -> Iterator[Finding]:
    """Findings on the data folder and the data sets.

    Args:
        overrides: as typed. None looks only whether files are there and how many; else every file is opened:
            of the data set in ``dataset=NAME`` with keys such as ``dataset.root=DIR``, or of all that are
            there.
    """
    yield from _data_folder()
    thorough = overrides is not None
    given = overrides or ()
    chosen = [word.removeprefix(_CHOICE) for word in given if word.startswith(_CHOICE)]
    keys = [word for word in given if not word.startswith(_CHOICE)]
    if keys and not chosen:
        yield fault(f"{' '.join(keys)}: of which data set?", "Add dataset=NAME ('ovseg ls datasets').")
        return
    absent = []
    for config in chosen or dataset_names():
        found = _look(config, keys, thorough=thorough, asked=bool(chosen))
        if found is None:
            absent.append(config)
        else:
            yield from found
    if absent:
        yield note(
            f"not on disk: {listed(absent)}",
            "'ovseg ls datasets' says where each is from, "
            "'ovseg check data dataset=NAME' what is looked for.",
        )


def _look(config: str, keys: Sequence[str], *, thorough: bool, asked: bool) -> Iterable[Finding] | None:
    """Findings on one data set; None if it is not there, which is no fault unless it was asked for."""
    try:
        dataset = build_dataset(config, keys)
        count = len(dataset.keys)
    except AbsentDataError as error:
        return [_fault(config, str(error))] if asked else None
    except ConfigError as error:
        # One that needs keys cannot be looked at before somebody gives them.
        return [_fault(config, str(error))] if asked else []
    except OvsegError as error:
        return [_fault(config, str(error))]
    return _findings(config, dataset, count, thorough=thorough)


def _data_folder() -> Iterator[Finding]:
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


def _findings(config: str, dataset: Any, count: int, *, thorough: bool) -> Iterator[Finding]:  # noqa: ANN401
    """What a data set that is there says of itself; those of plugins may know no quick look."""
    quick = getattr(dataset, "missing", tuple)
    sound = True
    for line in dataset.check() if thorough else quick():
        sound = False
        yield _fault(config, line)
    if sound:
        looked = "every file opened" if thorough else "'ovseg check data' opens every file"
        place = getattr(dataset, "place", None)
        yield ok(f"{config}: {count} pictures; {place if isinstance(place, str) else looked}")


def _fault(config: str, line: str) -> Finding:
    """A data set's line as a fault: its first sentence says what is wrong, the others what to do."""
    text, dot, remedy = line.partition(". ")
    return fault(f"{config}: {text}{dot.strip()}", remedy)
