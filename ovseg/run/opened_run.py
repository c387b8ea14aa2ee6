"""The folder of an evaluation, made or reopened, with other runs kept out of it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ovseg.errors import OutputError
from ovseg.report.files import TEMPORARY, output_error, write_file, write_json
from ovseg.run.output_folder import refuse_other_settings
from ovseg.run.run_folder import CONFIG, METRICS, PREDICTIONS, RECORDS, REPORT, SETTINGS, SHARDS


@contextmanager
def opened_run(folder: Path, settings: Mapping[str, Any], config: str, *, resume: bool) -> Iterator[None]:
    """Keep the folder for this run for the time of the block.

    Args:
        folder: is made if it is not there.
        settings: all that the records depend on, as JSON values.
        config: the composed config as YAML, for people.
        resume: keep what earlier runs with the same settings finished; False removes it first.

    Raises:
        OutputError: it cannot be written to, another run is in it, or `resume` is asked for and it holds a
            run of other settings.
    """
    plain: dict[str, Any] = json.loads(json.dumps(settings))  # as it comes back from the file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"Another run is writing to {folder}. Wait until it has ended, or choose another with output=DIR."
        ) from None
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        _begin(folder, plain, resume=resume)
        write_json(folder / SETTINGS, plain, indent=1)
        write_file(folder / CONFIG, config.encode())
        yield
    finally:
        lock.release()


def unfinish(folder: Path) -> None:
    """Remove the numbers of an earlier run, which are not those of the records that are about to come.

    Raises:
        OutputError: they cannot be removed.
    """
    try:
        for file in (METRICS, REPORT):
            (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error


def _begin(folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    earlier = folder / SETTINGS
    try:
        for rubbish in folder.glob(TEMPORARY.format("*")):
            rubbish.unlink(missing_ok=True)
        if earlier.exists() and not resume:
            _clear(folder)
    except OSError as error:
        raise output_error(folder, error) from error
    if earlier.exists():
        refuse_other_settings(earlier, settings)


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    for kind in ("semantic", "panoptic", "parts"):
        shutil.rmtree(folder / PREDICTIONS / kind, ignore_errors=True)
    files = (
        METRICS,
        REPORT,
        RECORDS,
        SETTINGS,
        f"{PREDICTIONS}/panoptic.json",
        f"{PREDICTIONS}/instances.json",
    )
    for path in (*(folder / name for name in files), *folder.glob(SHARDS)):
        path.unlink(missing_ok=True)
