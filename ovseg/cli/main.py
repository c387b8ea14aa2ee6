"""The command ``ovseg``: finds the verb, runs it, and says an error of the user's in one message."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from ovseg.errors import OvsegError
from ovseg.suggest import did_you_mean, listed

VERBS: dict[str, tuple[str, str]] = {
    "predict": ("ovseg.cli.predict", "segment pictures into classes that you name"),
    "evaluate": ("ovseg.cli.evaluate", "measure a method on a data set, by the published protocols"),
    "compare": ("ovseg.cli.compare", "put methods side by side: tables and a page with pictures"),
    "demo": ("ovseg.cli.demo", "see FC-CLIP and Trident at work: no download, a minute or two"),
    "train": ("ovseg.cli.train", "train a method on a data set, or on pictures of your own"),
    "prepare": ("ovseg.cli.prepare", "make what a data set needs beside its download"),
    "ls": ("ovseg.cli.ls", "list models, parts, vocabularies, data sets and weights"),
    "check": ("ovseg.cli.check", "look for faults in the environment, plugins, configs, weights and data"),
    "download": ("ovseg.cli.download", "fetch weights into the cache folder"),
    "completion": ("ovseg.cli.completion", "print the script for tab completion"),
}
"""Verb -> (module with ``main(argv) -> exit code``, what it does)."""

INTERRUPTED = 130
MISUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the words after ``ovseg``; None takes those of the process.

    Returns:
        The exit code: 0 done, 1 an error that was printed, 2 words that make no sense, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            return _dispatch(words)
    except OvsegError as error:
        if os.environ.get("OVSEG_DEBUG") == "1":
            raise
        print(f"ovseg: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ovseg: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (`ovseg ls | head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    verb, *rest = words
    if verb == "--version":
        print(f"ovseg {version('ovseg')}")
        return 0
    for flag in ("-sc", "--shell-completion", "--shell_completion"):
        if flag in words:  # as every program made with Hydra understands it, before or behind a verb
            verb, rest = "completion", words[words.index(flag) + 1 :]
    if verb not in VERBS:
        print(
            f"ovseg: there is no verb '{verb}'.{did_you_mean(verb, VERBS)} Verbs: {listed(VERBS)}. "
            "'ovseg --help' describes them.",
            file=sys.stderr,
        )
        return MISUSED
    run = importlib.import_module(VERBS[verb][0]).main
    return int(run(rest))


def usage() -> str:
    """What ``ovseg --help`` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, (_, summary) in VERBS.items())
    return f"""ovseg: open-vocabulary image segmentation. Name any classes, get their masks.

  ovseg VERB ...

Verbs
{verbs}

  ovseg VERB --help   describes a verb, with examples
  ovseg --version     prints the version

Example
  ovseg predict model=fcclip input=photo.jpg classes='[cat, dog|puppy, stuff:grass]' output=masks

OVSEG_CACHE is the folder for weights and text embeddings; OVSEG_DEBUG=1 shows the traceback of an error."""


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in one line, without the place in the code, which tells a user nothing."""
    print(f"ovseg: warning: {message}", file=sys.stderr)
