"""The class lists and prompt templates that come with ovseg: a JSON file each, in ``lists``, ``templates``.

A list holds its facts (id, colour, thing or stuff) once and its names in up to three variants: ``fcclip`` and
``trident`` are what the two papers are evaluated with, ``plain`` is what the data set says. Names are kept as
the sources have them, odd blanks included, because published numbers depend on them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from ovseg.errors import VocabularyError
from ovseg.suggest import did_you_mean, listed
from ovseg.vocabulary.classes import ClassEntry, Vocabulary, check_templates

Names = Literal["fcclip", "plain", "trident"]


@dataclass(frozen=True)
class VocabularyInfo:
    """What a built-in list is, without its classes.

    Attributes:
        title: one line for people.
        classes: how many there are.
        names: the variants of names that it has.
        default_names: the variant that is taken where none is asked for.
        ignore_label: value of the data set's label maps that means no class; None if it has no such maps.
        sources: where the names are from.
        licence: of what is in the list.
        notes: what one should know of it.
    """

    name: str
    title: str
    classes: int
    names: tuple[Names, ...]
    default_names: Names
    ignore_label: int | None
    sources: tuple[str, ...]
    licence: str
    notes: tuple[str, ...]


def vocabulary_names() -> tuple[str, ...]:
    """The built-in lists, sorted."""
    return _stems("lists")


def template_names() -> tuple[str, ...]:
    """The built-in sets of prompt templates, sorted."""
    return _stems("templates")


def vocabulary_info(name: str) -> VocabularyInfo:
    """What a built-in list is.

    Raises:
        VocabularyError: there is no such list.
    """
    content = _list(name)
    first = content["classes"][0]
    return VocabularyInfo(
        name=name,
        title=content["title"],
        classes=len(content["classes"]),
        names=tuple(variant for variant in get_args(Names) if variant in first),
        default_names=content["default_names"],
        ignore_label=content["ignore_label"],
        sources=tuple(content["sources"]),
        licence=content["licence"],
        notes=tuple(content["notes"]),
    )


def load_vocabulary(
    name: str, *, names: str | None = None, templates: str | Sequence[object] | None = None
) -> Vocabulary:
    """A built-in list.

    Args:
        name: one of `vocabulary_names`.
        names: which variant of its names; None takes the list's own default.
        templates: as in `as_templates`.

    Raises:
        VocabularyError: there is no such list, it lacks that variant, or the templates are no templates.
    """
    info = vocabulary_info(name)
    variant = names or info.default_names
    if variant not in info.names:
        raise VocabularyError(
            f"The vocabulary '{name}' has no '{variant}' names, only: {listed(info.names)}. Type "
            f"vocabulary.names={info.default_names}."
        )
    classes = tuple(_entry(row, variant) for row in _list(name)["classes"])
    return Vocabulary(name=name, classes=classes, templates=as_templates(templates))


def load_templates(name: str) -> tuple[str, ...]:
    """A built-in set of prompt templates: ``vild`` (14, FC-CLIP's) or ``imagenet`` (80, Trident's).

    Raises:
        VocabularyError: there is no such set.
    """
    if name not in template_names():
        raise VocabularyError(
            f"There are no templates '{name}'.{did_you_mean(name, template_names())} Built in: "
            f"{listed(template_names())}. Or write them out: templates='[\"a photo of a {{}}.\"]'."
        )
    return tuple(_json("templates", name)["templates"])


def as_templates(value: str | Sequence[object] | None) -> tuple[str, ...] | None:
    """Templates in any of their forms: None (the method's own), the name of a built-in set, or the prompts.

    Raises:
        VocabularyError: no such set, not text, or without exactly one ``{}``.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return load_templates(value)
    templates: list[str] = []
    for template in value:
        if not isinstance(template, str):
            raise VocabularyError(
                f"The template {template!r} is {type(template).__name__}, not text. Put it in quotes, as in "
                "'a photo of a {}.'"
            )
        templates.append(template)
    check_templates(templates)
    return tuple(templates)


def _entry(row: Mapping[str, Any], variant: str) -> ClassEntry:
    color = row.get("color")
    return ClassEntry(
        names=tuple(row[variant]),
        is_thing=row.get("thing", True),
        id=row["id"],
        color=None if color is None else (color[0], color[1], color[2]),
    )


def _list(name: str) -> Mapping[str, Any]:
    if name not in vocabulary_names():
        raise VocabularyError(
            f"There is no vocabulary '{name}'.{did_you_mean(name, vocabulary_names())} Built in: "
            f"{listed(vocabulary_names())}."
        )
    return _json("lists", name)


@cache
def _json(folder: str, name: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(
        files("ovseg.vocabulary").joinpath(folder, f"{name}.json").read_text(encoding="utf-8")
    )
    return content


@cache
def _stems(folder: str) -> tuple[str, ...]:
    entries = files("ovseg.vocabulary").joinpath(folder).iterdir()
    return tuple(sorted(entry.name[: -len(".json")] for entry in entries if entry.name.endswith(".json")))
