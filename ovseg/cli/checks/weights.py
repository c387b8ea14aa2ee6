"""Weights on disk: whole or damaged, complete or half fetched; and whether each model's weights are known."""

from collections.abc import Iterator
from pathlib import Path

from ovseg.cli.checks.finding import Finding, fault, note, ok
from ovseg.cli.inventory import models
from ovseg.cli.tables import bytes_text
from ovseg.config import compose_model
from ovseg.errors import ConfigError, WeightsError
from ovseg.suggest import listed
from ovseg.weights import zoo
from ovseg.weights.kind import kind_of
from ovseg.weights.parts import PARTS, RANDOM, part_weights

_AGAIN = "pip install --force-reinstall ovseg"


def check_weights() -> Iterator[Finding]:
    """Findings on every weights file of the cache folder and on the names that models give."""
    yield from _mirror()
    missing = []
    for entry in zoo.ZOO.values():
        path = zoo.locate(entry)
        if path is None:
            if entry.shipped is None:
                missing.append(entry.name)
            else:
                yield fault(f"{entry.name} comes with ovseg, but {entry.shipped} is not there.", _AGAIN)
            continue
        try:
            kind_of(path)
        except WeightsError as error:
            fetched_again = f"rm '{path}' && ovseg download {entry.name}"
            yield fault(f"{entry.name}: {error}", _AGAIN if entry.shipped else fetched_again)
        else:
            where = zoo.SHIPPED if entry.shipped else path
            yield ok(f"{entry.name}: {where}, {bytes_text(path.stat().st_size)}")
    yield from _half_fetched()
    if missing:
        yield note(
            f"not on disk: {listed(missing)}", "ovseg download NAME; predict also fetches what it needs."
        )
    yield from _names_in_models()


def _mirror() -> Iterator[Finding]:
    mirror = zoo.mirror()
    if mirror is None:
        return
    if zoo.is_server(mirror):
        yield ok(f"downloads come from OVSEG_MIRROR={mirror}")
    elif Path(mirror).expanduser().is_dir():
        yield ok(f"weights are also looked for in OVSEG_MIRROR={mirror}; nothing is downloaded")
    else:
        yield fault(
            f"OVSEG_MIRROR={mirror} is neither a folder nor an address.",
            "Set it to an existing folder or https://..., or unset it.",
        )


def _half_fetched() -> Iterator[Finding]:
    for path in sorted(zoo.weights_folder().glob("*.part")):
        size = bytes_text(path.stat().st_size)
        yield note(
            f"unfinished download: {path}, {size}",
            "ovseg download goes on with it; delete it if it is not wanted.",
        )


def _names_in_models() -> Iterator[Finding]:
    """Weights that a model's config names and that nothing is known of."""
    for row in models().rows:
        weights = row["weights"]
        if not isinstance(weights, str) or weights == RANDOM or row["on_disk"]:
            continue
        name = str(row["name"])
        try:
            for one in part_weights(compose_model(name)) if weights == PARTS else [weights]:
                if not Path(one).is_file():
                    zoo.find(one)
        except WeightsError as error:
            yield fault(f"model={name}: {error}", "Correct the weights that its config names.")
        except ConfigError:
            continue  # said by the check of configs
