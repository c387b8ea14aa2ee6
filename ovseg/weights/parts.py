"""Which published weights the parts of a model's config ask for, read off the config. Needs no torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from ovseg.weights import zoo

PARTS = "parts"
"""In place of a method's weights: each part is filled with its own published weights."""

RANDOM = "random"
"""In place of weights: those that the constructors draw, for tests and measurements."""


def part_weights(node: Mapping[str, Any]) -> Iterator[str]:
    """Names or paths of the weights of a node and of the nodes inside it, in the order of the config.

    A part says them as `checkpoint`, or as `pretrained`, which is a name, a path, or a tag of open_clip that
    belongs to the `architecture` beside it.
    """
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from part_weights(value)
        elif key == "checkpoint" and isinstance(value, str):
            yield value
        elif key == "pretrained":
            name = published_name(str(node.get("architecture")), value)
            if name is not None:
                yield name


def published_name(architecture: str, pretrained: str | None) -> str | None:
    """What `ovseg.weights.fetch` finds weights by.

    Args:
        architecture: of the part.
        pretrained: a listed name, a path, or a tag of open_clip; None for a part without published weights.
    """
    if pretrained is None or pretrained in zoo.ZOO or "/" in pretrained or "." in pretrained:
        return pretrained
    return f"{architecture}:{pretrained}"
