"""Class lists of users. The grammar of one class is the same on the command line and in files.

``cat``; ``dog|puppy`` (synonyms, the first is shown); ``stuff:grass`` (uncountable). Commas belong to names.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ovseg.errors import VocabularyError
from ovseg.suggest import did_you_mean, listed
from ovseg.vocabulary.classes import ClassEntry, Vocabulary

_PREFIXES = {"stuff:": False, "thing:": True}
_CLASS_KEYS = ("names", "thing", "id", "color")


def parse_classes(classes: Sequence[object], *, name: str = "custom") -> Vocabulary:
    """A vocabulary from a list of classes.

    Args:
        classes: each as text, ``cat``, ``dog|puppy``, ``stuff:grass``, or as a mapping with ``names`` and,
            where wanted, ``thing``, ``id`` and ``color``. Blanks at the ends of names are dropped.
        name: what the list is called.

    Raises:
        VocabularyError: the list is empty, a class is neither form or empty, or one class is there twice.
    """
    if isinstance(classes, str):
        raise VocabularyError(
            f"The classes are the text {classes!r}, not a list. Type classes='[cat, dog|puppy, stuff:grass]'."
        )
    return vocabulary_of(name, [(f"Class {number}", value) for number, value in enumerate(classes, start=1)])


def vocabulary_of(
    name: str, values: Sequence[tuple[str, object]], templates: tuple[str, ...] | None = None
) -> Vocabulary:
    """A vocabulary from classes in either form of `parse_classes`, each after the place that errors name."""
    classes = tuple(_without_repeats(_entry(value, where)) for where, value in values)
    _check_ids(classes)
    _check_names(classes)
    return Vocabulary(name=name, classes=classes, templates=templates)


def _entry(value: object, where: str) -> ClassEntry:
    if isinstance(value, Mapping):
        return _entry_of_mapping(value, where)
    text = checked_text(value, where).strip()
    is_thing = True
    for prefix, meaning in _PREFIXES.items():
        if text.startswith(prefix):
            text, is_thing = text[len(prefix) :], meaning
            break
    return ClassEntry(names=_names(text.split("|"), where), is_thing=is_thing)


def _entry_of_mapping(row: Mapping[Any, Any], where: str) -> ClassEntry:
    for word in ("stuff", "thing"):
        if set(row) == {word} and isinstance(row[word], str):
            raise VocabularyError(
                f"{where} is a mapping, because YAML takes a colon and a blank for one. Write "
                f"'{word}:{row[word]}', without the blank."
            )
    refuse_unknown(row, _CLASS_KEYS, where)
    names = row.get("names")
    if isinstance(names, str):
        names = names.split("|")
    if not isinstance(names, list):
        raise VocabularyError(
            f"{where} has {'no names' if names is None else f'{kind_of(names)} for names'}. Write a list, "
            "as in names: [dog, puppy]."
        )
    texts = [checked_text(name, where) for name in names]
    for text in texts:
        if text.strip().startswith(tuple(_PREFIXES)):
            raise VocabularyError(
                f"{where} is a mapping and has the name '{text}'. Beside other keys write the kind as one: "
                "thing: false for stuff, thing: true for things."
            )
    return ClassEntry(
        names=_names(texts, where),
        is_thing=_thing(row.get("thing", True), where),
        id=_id(row.get("id"), where),
        color=_color(row.get("color"), where),
    )


def _names(texts: Sequence[str], where: str) -> tuple[str, ...]:
    names = tuple(text.strip() for text in texts)
    if not names or not all(names):
        raise VocabularyError(
            f"{where} has an empty name. Write a name, or synonyms with one | between them, as in dog|puppy."
        )
    return names


def checked_text(value: object, where: str) -> str:
    """The value, refused if it is no text.

    Raises:
        VocabularyError: it is a number, a truth value, a list, or nothing.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise VocabularyError(
            f"{where} is the truth value {str(value).lower()}, not text: an unquoted yes, no, on, off, true "
            f"or false is read as one. Put it in quotes, as in '{'yes' if value else 'no'}'."
        )
    raise VocabularyError(f"{where} is {kind_of(value)}, not text. Put the name in quotes, as in 'cat'.")


def kind_of(value: object) -> str:
    """What a value of a file is, for errors."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return f"{value!r} ({type(value).__name__})"


def _thing(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise VocabularyError(f"{where}, thing: got {kind_of(value)}, allowed is true or false.")


def _id(value: object, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise VocabularyError(f"{where}, id: got {kind_of(value)}, allowed is a whole number.")


def _color(value: object, where: str) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    ):
        return (value[0], value[1], value[2])
    raise VocabularyError(f"{where}, color: got {value!r}, allowed is [red, green, blue], each in 0..255.")


def refuse_unknown(row: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse a mapping with other keys.

    Raises:
        VocabularyError: it has one; the message names it and the known ones.
    """
    for key in row:
        if key not in known:
            raise VocabularyError(
                f"{where} has the unknown key '{key}'.{did_you_mean(str(key), known)} Known: {listed(known)}."
            )


def _without_repeats(entry: ClassEntry) -> ClassEntry:
    """The class with each name once; a repeated name says nothing new."""
    kept: dict[str, str] = {}
    for name in entry.names:
        kept.setdefault(_as_clip_reads(name), name)
    if len(kept) == len(entry.names):
        return entry
    warnings.warn(f"The class '{entry.name}' has a name twice; it counts once.", stacklevel=2)
    return ClassEntry(tuple(kept.values()), entry.is_thing, entry.id, entry.color)


def _check_ids(classes: Sequence[ClassEntry]) -> None:
    ids = [entry.id for entry in classes if entry.id is not None]
    if ids and len(ids) < len(classes):
        lacking = next(entry.name for entry in classes if entry.id is None)
        raise VocabularyError(
            f"Some classes have an id and '{lacking}' has none. Give one to all classes or none."
        )
    taken: dict[int | None, str] = {}
    for entry in classes:
        if entry.id is not None and taken.setdefault(entry.id, entry.name) != entry.name:
            raise VocabularyError(
                f"The id {entry.id} is that of '{taken[entry.id]}' and of '{entry.name}'. Give each its own."
            )


def _check_names(classes: Sequence[ClassEntry]) -> None:
    """Refuse one class twice; warn of a name that two classes share."""
    shown: dict[str, int] = {}
    for index, entry in enumerate(classes):
        first = shown.setdefault(_as_clip_reads(entry.name), index)
        if first != index:
            raise VocabularyError(
                f"Class {index + 1} ('{entry.name}') is class {first + 1} ('{classes[first].name}') again; "
                "capitals make no difference. Remove one; join synonyms with |, as in dog|puppy."
            )
    owner: dict[str, int] = {}
    for index, entry in enumerate(classes):
        for name in entry.names:
            first = owner.setdefault(_as_clip_reads(name), index)
            if first != index:
                warnings.warn(
                    f"'{name}' names class {first + 1} ('{classes[first].name}') and class {index + 1} "
                    f"('{entry.name}'): where it fits best the two tie and class {first + 1} is taken.",
                    stacklevel=2,
                )


def _as_clip_reads(name: str) -> str:
    """CLIP's tokenizer lower-cases and joins blanks."""
    return " ".join(name.lower().split())
