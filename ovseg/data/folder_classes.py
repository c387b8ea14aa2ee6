"""Which classes a user's own labels speak of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ovseg.data.coco_json import Category
from ovseg.errors import DataError
from ovseg.suggest import did_you_mean
from ovseg.vocabulary import (
    ClassEntry,
    Vocabulary,
    load_vocabulary,
    read_vocabulary,
    vocabulary_info,
    vocabulary_names,
)


def classes_of(given: str | None, root: Path, categories: Sequence[Category]) -> Vocabulary:
    """The class list.

    Args:
        given: a file, relative to `root`, or a built-in list; None takes the categories.
        root: the folder of the data set.
        categories: of a panoptic JSON file; empty for index maps.

    Raises:
        DataError: there is no such file or list.
        VocabularyError: the file is malformed.
    """
    if given is None:
        entries = (ClassEntry((one.title,), is_thing=one.is_thing, id=one.id) for one in categories)
        return Vocabulary(name=root.name, classes=tuple(entries))
    path = root / Path(given).expanduser()
    if path.is_file():
        vocabulary = read_vocabulary(path)
        # A file that happens to be called as a built-in list is not that list.
        taken = vocabulary.name in vocabulary_names()
        return replace(vocabulary, name=f"{root.name}-{vocabulary.name}") if taken else vocabulary
    if given in vocabulary_names():
        in_publishers_words = "plain" in vocabulary_info(given).names
        return load_vocabulary(given, names="plain" if in_publishers_words else None)
    raise DataError(
        f"dataset.classes={given}: there is no file {path}, and no built-in list of that name."
        f"{did_you_mean(given, vocabulary_names())} Write the classes into that file, one per line, in the "
        "order of their values in the label files; 'ovseg ls vocabularies' shows the built-in lists."
    )


def labels_of(categories: Sequence[Category], vocabulary: Vocabulary, path: Path) -> Mapping[int, int]:
    """Category id -> index of the class that has the category's name among its names.

    Args:
        categories: as listed in a JSON file.
        vocabulary: the classes.
        path: of the JSON file, for the message.

    Raises:
        DataError: a category has no class, or is a thing where its class is stuff, or the reverse.
    """
    index_of = {
        name.casefold(): index for index, entry in enumerate(vocabulary.classes) for name in entry.names
    }
    found = {}
    for category in categories:
        index = index_of.get(category.title.casefold())
        if index is None:
            raise DataError(
                f"{path} has the category '{category.title}', which is no class of '{vocabulary.name}'."
                f"{did_you_mean(category.title, index_of)} Add it to the classes, as a synonym if need be, "
                "or set dataset.classes=null to take the categories for the classes."
            )
        if vocabulary.classes[index].is_thing != category.is_thing:
            kinds = ("a thing", "stuff") if category.is_thing else ("stuff", "a thing")
            raise DataError(
                f"{path} says that '{category.title}' is {kinds[0]}, the class list that it is {kinds[1]}. "
                f"Write 'stuff:{category.title}' or 'thing:{category.title}' there, or correct 'isthing'."
            )
        found[category.id] = index
    return found
