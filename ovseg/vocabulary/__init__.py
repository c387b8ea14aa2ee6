"""What may be named: ordered classes with synonyms, and the prompts that say them. Needs no torch.

`classes` holds the types, `builtin` the lists that come with ovseg (the JSON files in ``lists`` and
``templates``), `custom` and `files` the lists of users.
"""

from ovseg.vocabulary.any_form import as_vocabulary
from ovseg.vocabulary.builtin import (
    Names,
    VocabularyInfo,
    as_templates,
    load_templates,
    load_vocabulary,
    template_names,
    vocabulary_info,
    vocabulary_names,
)
from ovseg.vocabulary.classes import ClassEntry, Vocabulary, is_seen
from ovseg.vocabulary.custom import parse_classes
from ovseg.vocabulary.files import read_vocabulary

__all__ = [
    "ClassEntry",
    "Names",
    "Vocabulary",
    "VocabularyInfo",
    "as_templates",
    "as_vocabulary",
    "is_seen",
    "load_templates",
    "load_vocabulary",
    "parse_classes",
    "read_vocabulary",
    "template_names",
    "vocabulary_info",
    "vocabulary_names",
]
