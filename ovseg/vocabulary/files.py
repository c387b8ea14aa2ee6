"""Class lists of users in text, JSON and YAML files."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ovseg.errors import VocabularyError
from ovseg.vocabulary.builtin import as_templates
from ovseg.vocabulary.classes import Vocabulary
from ovseg.vocabulary.custom import checked_text, kind_of, refuse_unknown, vocabulary_of

FILE_KINDS = (".txt", ".json", ".yaml", ".yml")

_KEYS = ("name", "classes", "templates")


def read_vocabulary(path: str | Path) -> Vocabulary:
    """A vocabulary from a file.

    ``.json``, ``.yaml`` and ``.yml`` hold a list as `parse_classes` takes it, or a mapping with ``classes``
    and, where wanted, ``name`` and ``templates``. Any other file is text: one class per line, blank lines and
    what follows a ``#`` at the start of a line or after a blank left out.

    Raises:
        VocabularyError: the file cannot be read, is malformed, or is no list of classes.
    """
    path = Path(path)
    text = _text(path)
    kind = path.suffix.lower()
    if kind == ".json":
        return _from_content(path, _json(path, text))
    if kind in (".yaml", ".yml"):
        return _from_content(path, _yaml(path, text))
    lines = enumerate(map(_without_comment, text.splitlines()), start=1)
    return vocabulary_of(path.stem, [(f"{path}, line {number}", line) for number, line in lines if line])


def _text(path: Path) -> str:
    if path.is_dir():
        raise VocabularyError(
            f"{path} is a folder, not a file of classes. Give a .txt, .json or .yaml file, for example "
            f"{path / 'classes.txt'}."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise VocabularyError(
            f"There is no file of classes at {path.absolute()}. Give the path of a .txt, .json or .yaml "
            "file, or type the classes: classes='[cat, dog|puppy, stuff:grass]'."
        ) from None
    except UnicodeDecodeError as error:
        raise VocabularyError(
            f"{path} is no UTF-8 text (byte {error.start}). Save the list as UTF-8, one class per line."
        ) from error
    except OSError as error:
        raise VocabularyError(
            f"Cannot read the classes in {path}: {error.strerror}. Check its path and permissions."
        ) from error


def _json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise VocabularyError(
            f"{path} is no valid JSON: {error.msg}, line {error.lineno}, column {error.colno}. It should "
            'look like ["cat", "dog|puppy", "stuff:grass"].'
        ) from error


def _yaml(path: Path, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise VocabularyError(
            f"{path} is no valid YAML: {' '.join(str(error).split())}. It should look like "
            "[cat, dog|puppy, 'stuff:grass']."
        ) from error


def _from_content(path: Path, content: object) -> Vocabulary:
    name, templates = path.stem, None
    if isinstance(content, Mapping):
        refuse_unknown(content, _KEYS, f"{path}")
        templates = as_templates(_templates_value(path, content.get("templates")))
        name = checked_text(content.get("name", name), f"{path}, name")
        content = content.get("classes")
    # A file with nothing in it is an empty list, and is refused as one.
    if content is None:
        content = []
    if not isinstance(content, list):
        raise VocabularyError(
            f"{path} holds {kind_of(content)}, not a list of classes. Write a list, as in "
            "[cat, dog|puppy, 'stuff:grass'], or a mapping with the key 'classes'."
        )
    values = [(f"{path}, class {number}", value) for number, value in enumerate(content, start=1)]
    return vocabulary_of(name, values, templates)


def _templates_value(path: Path, value: object) -> str | Sequence[object] | None:
    if value is None or isinstance(value, str | list):
        return value
    raise VocabularyError(
        f"{path}, templates: got {kind_of(value)}. Write the name of a built-in set (vild, imagenet) or a "
        "list, as in ['a photo of a {}.']."
    )


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line).strip()
