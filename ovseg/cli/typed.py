"""Words as people type them to words that Hydra's grammar can read.

Without quotes Hydra reads only ASCII letters, no apostrophes, no brackets, and takes a comma for a sweep.
Paths and class names are full of these. A word that Hydra can read is never changed.
"""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

PATH_KEYS = ("input", "output", "into")
LIST_KEYS = ("classes", "models", "runs")

_QUOTES = "'\""


def readable(words: Sequence[str]) -> list[str]:
    """Put quotes around paths and class names where Hydra needs them.

    ``input=IMG (1), b.jpg`` becomes ``input='IMG (1), b.jpg'``; ``classes=[café, driver's seat]`` and
    ``classes=café, driver's seat`` become ``classes=["café","driver's seat"]``. With ``-m`` commas separate
    runs, so that only what Hydra itself reads is possible.
    """
    if "-m" in words or "--multirun" in words:
        return list(words)
    return [_readable(word) for word in words]


def _readable(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals or key not in (*PATH_KEYS, *LIST_KEYS) or _hydra_reads(word):
        return word
    if key in PATH_KEYS:
        # What begins like Hydra's grammar was meant as such: its error says more than a missing file would.
        return word if value.startswith(("[", *_QUOTES)) else f"{key}={_quoted(value)}"
    if value.startswith("[") != value.endswith("]"):
        return word
    items = _split(value.removeprefix("[").removesuffix("]"))
    return f"{key}=[{','.join(_quoted(item) for item in items)}]"


def _hydra_reads(word: str) -> bool:
    try:
        return not OverridesParser.create().parse_override(word).is_sweep_override()
    except HydraException:
        return False


def _split(text: str) -> list[str]:
    """The items between commas; one that begins with a quote goes to the next such quote."""
    items = []
    rest = text.strip()
    while rest:
        if rest[0] in _QUOTES and rest[0] in rest[1:]:
            item, _, rest = rest[1:].partition(rest[0])
            rest = rest.lstrip().removeprefix(",").lstrip()
        else:
            item, _, rest = rest.partition(",")
            item, rest = item.strip(), rest.lstrip()
        items.append(item)
    return items


def _quoted(text: str) -> str:
    # In Hydra's quoted strings a backslash is itself, except in a row of them that ends at a quote.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    at_end = len(escaped) - len(escaped.rstrip("\\"))
    return '"' + escaped + "\\" * at_end + '"'
