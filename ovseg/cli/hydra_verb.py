"""A verb whose arguments are a Hydra config: composes, runs the task, says Hydra's errors in one message."""

import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ovseg.cli.typed import readable
from ovseg.config import VERSION_BASE, conf_dir, config_groups, hydra_session, known_keys, set_up_hydra
from ovseg.config_errors import clean_error
from ovseg.errors import ConfigError, OvsegError

Task = Callable[[DictConfig], int]
"""Takes the composed config, gives an exit code."""


def run_verb(verb: str, usage: str, argv: Sequence[str], task: Task) -> int:
    """Run a task once, or with ``-m`` once per combination; Hydra's flags (``--help``, ``--cfg``) work.

    Args:
        verb: name of the root config.
        usage: what ``--help`` prints, with the word GROUPS where the options of each group go. Hydra's own
            help composes the config once per group, which takes longer than people like to wait.
        argv: the words after the verb.
        task: called with the composed config.

    Returns:
        The largest exit code of the runs. In a multirun an `OvsegError` of one job is printed and counts with
        its exit code; the other jobs run.

    Raises:
        ConfigError: the command line does not make a config.
        OvsegError: of the task, if it runs once.
    """
    if "--help" in argv or "-h" in argv:
        print(usage.replace("GROUPS", _groups()))
        return 0
    codes = _ExitCodes(tempfile.mkdtemp(prefix="ovseg-"))
    errors: list[OvsegError] = []
    started = False

    def run(config: DictConfig) -> None:
        """One job, as Hydra calls it; what it gives is kept here, since Hydra drops it."""
        nonlocal started
        started = True
        try:
            codes.add(task(config))
        except OvsegError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN and os.environ.get("OVSEG_DEBUG") != "1":
                print(f"ovseg: job {HydraConfig.get().job.num}: {error}", file=sys.stderr)
                codes.add(error.exit_code)
            else:
                # Raised below: passing through Hydra it would gain a second, less clear message.
                errors.append(error)

    set_up_hydra()
    words = _flags_first(readable(argv))
    with _as_program(verb, words):
        try:
            hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name=verb)(run)()
        except (HydraException, OmegaConfBaseException) as error:
            with hydra_session():  # Hydra's own is over; it knows which options there are
                raise clean_error(error, lambda: _known_keys(verb, words)) from error
        except ValueError as error:
            # Hydra's complaint about flags and empty choices; once the task runs, it would be a bug of ours.
            if started:
                raise
            about_group = "group" in str(error)
            hint = ". A group takes the name of an option; ~group leaves it out." if about_group else "."
            raise ConfigError(f"{error}{hint}") from error
        except SystemExit as stop:  # argparse, after it has printed
            return stop.code if isinstance(stop.code, int) else 0
        finally:
            largest = codes.taken()
    if errors:
        raise errors[0]
    return largest


@dataclass(frozen=True)
class _ExitCodes:
    """Codes of jobs, some of which a launcher may run in other processes: each puts a file into a folder."""

    folder: str

    def add(self, code: int) -> None:
        with suppress(OSError):  # a job on another machine, which does not see the folder
            Path(self.folder, uuid4().hex).write_text(str(code))

    def taken(self) -> int:
        """The largest; the folder goes."""
        codes = [int(file.read_text()) for file in Path(self.folder).iterdir()]
        shutil.rmtree(self.folder, ignore_errors=True)
        return max(codes, default=0)


def _groups() -> str:
    lines = [f"{group}: {', '.join(options)}" for group, options in config_groups().items()]
    return "\n".join(
        textwrap.fill(line, 110, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
        for line in lines
    )


def _flags_first(words: Sequence[str]) -> list[str]:
    """Overrides behind the flags: argparse, which Hydra reads them with, wants them in one piece."""
    overrides = [word for word in words if _is_override(word)]
    return [*(word for word in words if not _is_override(word)), *overrides]


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def _known_keys(verb: str, words: Sequence[str]) -> tuple[str, ...]:
    overrides = [word for word in words if _is_override(word)]
    for flag in ("--config-dir", "-cd"):
        if flag in words[:-1]:
            folder = Path(words[words.index(flag) + 1]).absolute()
            overrides.append(f"hydra.searchpath=['file://{folder}']")
    with hydra_session():
        return known_keys(verb, overrides)


@contextmanager
def _as_program(verb: str, words: Sequence[str]) -> Iterator[None]:
    """The process as Hydra wants it: arguments in ``sys.argv``, errors raised instead of printed."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [f"ovseg {verb}", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
