"""Hydra's and OmegaConf's errors, said in one message with what was typed, what is known and what to type."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from ovseg.errors import ConfigError
from ovseg.suggest import did_you_mean, listed

QUOTING = (
    "Quote the whole argument for the shell and, inside, values with special characters for Hydra: "
    """classes='[cat, "salt, pepper"]', classes="[\\"driver's seat\\", cat]"."""
)

_NO_SUCH_KEY = re.compile(r"Could not (?:override|delete(?: from config\.)?) '([^']+)'")


def clean_error(error: Exception, known_keys: Callable[[], Iterable[str]] = tuple) -> ConfigError:
    """The `ConfigError` that says what an error of Hydra or OmegaConf means.

    Args:
        error: as it was caught.
        known_keys: gives all keys and groups that could have been meant, for near names; called if needed.
    """
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(f"Cannot read '{error.override}': {_grammar_fault(error)}\n{QUOTING}")
    unknown = _NO_SUCH_KEY.search(str(error))
    if unknown:
        return _unknown_key(unknown[1], tuple(known_keys()))
    if "Ambiguous value" in str(error):
        return ConfigError(
            f"{str(error).strip().splitlines()[0]}: to run once per value add -m, for a list write [a,b]. "
            f"{QUOTING}"
        )
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        reason = str(cause).splitlines()[0]
        key = f"{cause.full_key}: " if cause.full_key else ""
        override = re.search(r"Error merging override (.+)", str(error))
        return ConfigError(f"{override[1]}: {reason}" if override else f"{key}{reason}")
    return ConfigError(str(error).strip())


def _grammar_fault(error: OverrideParseException) -> str:
    first, *others = error.message.splitlines()
    prefix = "LexerNoViableAltException: "
    if first.startswith(prefix) and others and others[0].endswith("^"):
        at = len(others[0]) - len(prefix) - 1
        return f"'{error.override[at]}' (character {at + 1}) needs quotes around the value that it is in."
    return f"{first}."


def _missing_option(error: MissingConfigException) -> ConfigError:
    path = PurePosixPath(error.missing_cfg_file or "")
    group = str(path.parent)
    known = sorted(_options(group) if error.options is None else error.options)
    if not known:
        return ConfigError(str(error).strip())
    where = re.match(r"In '([^']+)'", str(error))
    asked_by = f" (asked for in {where[1]}.yaml)" if where and "/" in where[1] else ""
    return ConfigError(
        f"{group}={path.name}: there is no such option{asked_by}.{did_you_mean(path.name, known)} "
        f"Options of {group}: {listed(known)}."
    )


def _options(group: str) -> list[str]:
    """What Hydra itself leaves out where a list of options was asked for."""
    session = GlobalHydra.instance()
    return session.config_loader().get_group_options(group) if session.is_initialized() else []


def _unknown_key(key: str, known: tuple[str, ...]) -> ConfigError:
    key = key.partition("@")[0]
    parent = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    # A misspelt last part is nearest to its siblings; a misspelt or forgotten parent only to full names.
    hint = did_you_mean(key, siblings) or did_you_mean(key, known)
    if not hint:
        last = [name for name in known if re.split(r"[./]", name)[-1] == re.split(r"[./]", key)[-1]]
        hint = f" Did you mean '{last[0]}'?" if last else ""
    message = f"There is no key '{key}'.{hint}"
    if siblings:
        message += f" Keys of {parent or 'the run'}: {listed(sorted(siblings))}."
    if key.startswith("model."):
        message += f" (An argument of a part that its YAML does not list is set with +{key}=...)"
    return ConfigError(message)
