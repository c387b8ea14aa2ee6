"""The end of an error about a name: the nearest known name and the list of all of them."""

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, with a leading blank, or nothing where no name is near."""
    by_folded = {name.lower().replace("-", "_"): name for name in known}
    near = difflib.get_close_matches(given.lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return f" Did you mean '{by_folded[near[0]]}'?" if near else ""


def listed(names: Iterable[str]) -> str:
    """The names joined by commas, in order, or ``(none)``."""
    return ", ".join(names) or "(none)"
