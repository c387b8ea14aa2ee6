"""One door for every way to say what may be named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ovseg.errors import VocabularyError
from ovseg.suggest import did_you_mean, listed
from ovseg.vocabulary.builtin import as_templates, load_vocabulary, vocabulary_names
from ovseg.vocabulary.classes import Vocabulary
from ovseg.vocabulary.custom import parse_classes
from ovseg.vocabulary.files import FILE_KINDS, read_vocabulary


def as_vocabulary(
    value: Vocabulary | str | Path | Sequence[object],
    *,
    names: str | None = None,
    templates: str | Sequence[object] | None = None,
) -> Vocabulary:
    """A vocabulary in any of its forms.

    Args:
        value: a vocabulary, the name of a built-in list, the path of a file, or classes as `parse_classes`
            takes them.
        names: which names of a built-in list; only for those.
        templates: as in `as_templates`; None keeps what the vocabulary brings.

    Raises:
        VocabularyError: there is no such list or file, or it cannot be read as one.
    """
    if isinstance(value, str) and value in vocabulary_names():
        return load_vocabulary(value, names=names, templates=templates)
    if names is not None:
        raise VocabularyError(
            f"names='{names}' chooses among the names of a built-in vocabulary, and this is a list of your "
            "own. Leave names out."
        )
    vocabulary = _own(value)
    return vocabulary if templates is None else replace(vocabulary, templates=as_templates(templates))


def _own(value: Vocabulary | str | Path | Sequence[object]) -> Vocabulary:
    if isinstance(value, Vocabulary):
        return value
    if isinstance(value, Path):
        return read_vocabulary(value)
    if not isinstance(value, str):
        return parse_classes(value)
    path = Path(value).expanduser()
    if path.suffix.lower() in FILE_KINDS or path.is_file():
        return read_vocabulary(path)
    raise VocabularyError(
        f"'{value}' is neither a built-in vocabulary nor a file.{did_you_mean(value, vocabulary_names())} "
        f"Built in: {listed(vocabulary_names())}. For classes of your own type "
        "classes='[cat, dog|puppy, stuff:grass]', or give a .txt, .json or .yaml file."
    )
