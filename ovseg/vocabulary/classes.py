"""The types: classes in an order, each with its names."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ovseg.errors import VocabularyError


@dataclass(frozen=True)
class ClassEntry:
    """One class.

    Attributes:
        names: the synonyms in order; the first one is shown to people.
        is_thing: countable (True) or stuff (False).
        id: the data set's own category id; None for a list that has none.
        color: (r, g, b) in 0..255; None lets the overlay choose.
    """

    names: tuple[str, ...]
    is_thing: bool = True
    id: int | None = None
    color: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """The name that is shown to people."""
        return self.names[0]


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of classes.

    Attributes:
        name: of the list, as it is built in or as the file calls it.
        classes: in the order that label indices count.
        templates: prompts with one ``{}`` each; None leaves the choice to the method (FC-CLIP: 14 of ViLD,
            Trident: 80 of ImageNet).

    Raises:
        VocabularyError: the list is empty, a class has no name or an empty one, or a template has no single
            ``{}``.
    """

    name: str
    classes: tuple[ClassEntry, ...]
    templates: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise VocabularyError(
                f"The vocabulary '{self.name}' has no classes. Name at least one, for example "
                "classes='[cat, dog]'."
            )
        for number, entry in enumerate(self.classes, start=1):
            if not entry.names or not all(name.strip() for name in entry.names):
                raise VocabularyError(
                    f"Class {number} of the vocabulary '{self.name}' has an empty name. Every class needs at "
                    "least one name, and no name may be blank."
                )
        if self.templates is not None:
            check_templates(self.templates)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def synonyms(self) -> tuple[str, ...]:
        """All names of all classes, class by class: the rows of the text embeddings."""
        return tuple(name for entry in self.classes for name in entry.names)

    @property
    def class_of_synonym(self) -> tuple[int, ...]:
        """For each of `synonyms`, the index of its class."""
        return tuple(index for index, entry in enumerate(self.classes) for _ in entry.names)

    @property
    def digest(self) -> str:
        """SHA-256 over names and templates: equal digests give equal embeddings from equal weights."""
        content = [[entry.names for entry in self.classes], self.templates]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def check_templates(templates: Sequence[str]) -> None:
    """Refuse prompt templates that no name can be put into.

    Raises:
        VocabularyError: there is none, or one does not hold ``{}`` exactly once.
    """
    if not templates:
        raise VocabularyError(
            "The list of templates is empty. Give at least one, for example "
            "templates='[\"a photo of a {}.\"]', or null for the method's own."
        )
    for template in templates:
        if template.count("{}") != 1:
            raise VocabularyError(
                f"The template '{template}' has {template.count('{}')} places for the name. It needs exactly "
                "one {}, as in 'a photo of a {}.'"
            )


def is_seen(vocabulary: Vocabulary, training_names: Sequence[str]) -> tuple[bool, ...]:
    """Per class, whether one of its names is a training name, exactly so (FC-CLIP's rule)."""
    known = set(training_names)
    return tuple(not known.isdisjoint(entry.names) for entry in vocabulary.classes)
