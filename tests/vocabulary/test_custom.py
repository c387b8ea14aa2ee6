"""Class lists of users: the grammar, and what is refused or warned of, in which words."""

import json
import re

import pytest

from ovseg.errors import VocabularyError
from ovseg.vocabulary import ClassEntry, Vocabulary, as_vocabulary, parse_classes, read_vocabulary


def test_grammar():
    vocabulary = parse_classes(["cat", " dog | puppy ", "stuff:grass", "thing: salt, pepper", "stuff-bag"])
    assert vocabulary.name == "custom"
    assert vocabulary.classes == (
        ClassEntry(("cat",)),
        ClassEntry(("dog", "puppy")),
        ClassEntry(("grass",), is_thing=False),
        ClassEntry(("salt, pepper",)),
        ClassEntry(("stuff-bag",)),
    )
    assert vocabulary.synonyms == ("cat", "dog", "puppy", "grass", "salt, pepper", "stuff-bag")
    assert vocabulary.class_of_synonym == (0, 1, 1, 2, 3, 4)


def test_mappings():
    rows = [
        {"names": ["sky", " clouds"], "thing": False, "id": 7, "color": [1, 2, 3]},
        {"names": "dog|puppy", "id": 9},
    ]
    assert parse_classes(rows).classes == (
        ClassEntry(("sky", "clouds"), is_thing=False, id=7, color=(1, 2, 3)),
        ClassEntry(("dog", "puppy"), id=9),
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "The vocabulary 'custom' has no classes. Name at least one, for example classes='[cat, dog]'."),
        ("cat", "The classes are the text 'cat', not a list. Type classes='[cat, dog|puppy, stuff:grass]'."),
        (
            ["cat", ""],
            "Class 2 has an empty name. Write a name, or synonyms with one | between them, as in dog|puppy.",
        ),
        (["  "], "Class 1 has an empty name."),
        (["stuff:"], "Class 1 has an empty name."),
        (["dog||puppy"], "Class 1 has an empty name."),
        ([{"names": []}], "Class 1 has an empty name."),
        (
            ["cat", False],
            "Class 2 is the truth value false, not text: an unquoted yes, no, on, off, true or false is read "
            "as one. Put it in quotes, as in 'no'.",
        ),
        (["cat", 3], "Class 2 is 3 (int), not text. Put the name in quotes, as in 'cat'."),
        ([2.5], "Class 1 is 2.5 (float), not text."),
        ([None], "Class 1 is nothing (null), not text."),
        ([["cat"]], "Class 1 is a list, not text."),
        ([{"names": ["cat", 3]}], "Class 1 is 3 (int), not text."),
        (
            [{"name": "cat"}],
            "Class 1 has the unknown key 'name'. Did you mean 'names'? Known: names, thing, id, color.",
        ),
        ([{"thing": True}], "Class 1 has no names. Write a list, as in names: [dog, puppy]."),
        ([{"names": 3}], "Class 1 has 3 (int) for names. Write a list"),
        (
            [{"stuff": "grass"}],
            "Class 1 is a mapping, because YAML takes a colon and a blank for one. Write 'stuff:grass', "
            "without the blank.",
        ),
        (
            [{"names": ["stuff:grass"]}],
            "Class 1 is a mapping and has the name 'stuff:grass'. Beside other keys write the kind as one",
        ),
        ([{"names": ["a"], "thing": "no"}], "Class 1, thing: got 'no' (str), allowed is true or false."),
        ([{"names": ["a"], "id": 1.5}], "Class 1, id: got 1.5 (float), allowed is a whole number."),
        ([{"names": ["a"], "id": True}], "Class 1, id: got True (bool), allowed is a whole number."),
        (
            [{"names": ["a"], "color": [1, 2, 256]}],
            "Class 1, color: got [1, 2, 256], allowed is [red, green, blue], each in 0..255.",
        ),
        (
            ["cat", {"names": ["dog"], "id": 3}],
            "Some classes have an id and 'cat' has none. Give one to all classes",
        ),
        (
            [{"names": ["a"], "id": 3}, {"names": ["b"], "id": 3}],
            "The id 3 is that of 'a' and of 'b'. Give each its own.",
        ),
        (
            ["cat", "dog", "Cat"],
            "Class 3 ('Cat') is class 1 ('cat') again; capitals make no difference. Remove one; join",
        ),
        (["cat", "stuff:cat|kitten"], "Class 2 ('cat') is class 1 ('cat') again"),
    ],
)
def test_refused(classes, message):
    with pytest.raises(VocabularyError, match=re.escape(message)):
        parse_classes(classes)


def test_a_name_of_two_classes_is_warned_of():
    message = "'Puppy' names class 1 ('dog') and class 3 ('animal'): where it fits best the two"
    with pytest.warns(UserWarning, match=re.escape(message)):
        vocabulary = parse_classes(["dog|puppy", "cat", "animal|Puppy"])
    assert vocabulary.classes[2].names == ("animal", "Puppy")


def test_a_name_twice_in_one_class_counts_once():
    with pytest.warns(UserWarning, match=re.escape("The class 'dog' has a name twice; it counts once.")):
        vocabulary = parse_classes(["dog|puppy|Dog"])
    assert vocabulary.synonyms == ("dog", "puppy")


def test_text_file(tmp_path):
    path = tmp_path / "pets.txt"
    path.write_text(
        "# my pets\n\ncat\n  dog|puppy   # both\nstuff:grass\t# lawn\nc# guitar, electric\n",
        encoding="utf-8-sig",
    )
    vocabulary = read_vocabulary(path)
    assert vocabulary.name == "pets"
    assert [entry.names for entry in vocabulary.classes] == [
        ("cat",),
        ("dog", "puppy"),
        ("grass",),
        ("c# guitar, electric",),
    ]
    assert [entry.is_thing for entry in vocabulary.classes] == [True, True, False, True]


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml", ".JSON"])
def test_json_and_yaml_file(tmp_path, suffix):
    path = tmp_path / f"pets{suffix}"
    path.write_text(json.dumps(["cat", {"names": ["dog", "puppy"], "thing": True}]))
    assert read_vocabulary(str(path)).classes == parse_classes(["cat", "dog|puppy"]).classes
    content = {"name": "my pets", "classes": ["cat", "stuff:grass"], "templates": ["the {}"]}
    path.write_text(json.dumps(content))
    assert read_vocabulary(path) == Vocabulary(
        "my pets", (ClassEntry(("cat",)), ClassEntry(("grass",), is_thing=False)), ("the {}",)
    )


def test_yaml_as_people_write_it(tmp_path):
    path = tmp_path / "pets.yaml"
    path.write_text("classes:\n- cat\n- dog|puppy\n- stuff:grass\ntemplates: vild\n")
    vocabulary = read_vocabulary(path)
    assert vocabulary.classes == parse_classes(["cat", "dog|puppy", "stuff:grass"]).classes
    assert len(vocabulary.templates) == 14


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.txt", b"", "The vocabulary 'a' has no classes."),
        ("a.yaml", b"", "The vocabulary 'a' has no classes."),
        ("a.txt", b"cat\n\ndog|\n", "a.txt, line 3 has an empty name."),
        ("a.txt", b"cat\nCAT\n", "Class 2 ('CAT') is class 1 ('cat') again"),
        (
            "a.txt",
            b"\x89PNG\xff",
            "a.txt is no UTF-8 text (byte 0). Save the list as UTF-8, one class per line.",
        ),
        ("a.yaml", b"- cat\n- no\n", "a.yaml, class 2 is the truth value false, not text"),
        (
            "a.yaml",
            b"- stuff: grass\n",
            "a.yaml, class 1 is a mapping, because YAML takes a colon and a blank for one.",
        ),
        ("a.yaml", b"- [cat\n", "a.yaml is no valid YAML: "),
        ("a.json", b'["cat",]', "a.json is no valid JSON: "),
        ("a.json", b'["cat"', 'line 1, column 7. It should look like ["cat", "dog|puppy", "stuff:grass"].'),
        ("a.json", b'"cat"', "a.json holds 'cat' (str), not a list of classes. Write a list, as in"),
        ("a.yaml", b"cat: 3\n", "a.yaml has the unknown key 'cat'. Known: name, classes, templates."),
        ("a.yaml", b"class: [cat]\n", "unknown key 'class'. Did you mean 'classes'?"),
        ("a.yaml", b"classes: cat\n", "a.yaml holds 'cat' (str), not a list of classes."),
        ("a.yaml", b"classes: [cat]\nname: 3\n", "a.yaml, name is 3 (int), not text."),
        (
            "a.yaml",
            b"classes: [cat]\ntemplates: 3\n",
            "a.yaml, templates: got 3 (int). Write the name of a built-in set",
        ),
        (
            "a.yaml",
            b"classes: [cat]\ntemplates: ['a photo']\n",
            "The template 'a photo' has 0 places for the name.",
        ),
    ],
)
def test_file_refused(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(VocabularyError, match=re.escape(message)):
        read_vocabulary(tmp_path / file)


def test_no_such_file(tmp_path):
    with pytest.raises(
        VocabularyError, match=r"There is no file of classes at .*pets\.txt\. Give the path of"
    ):
        read_vocabulary(tmp_path / "pets.txt")
    with pytest.raises(VocabularyError, match=r"is a folder, not a file of classes\. Give a \.txt"):
        read_vocabulary(tmp_path)


def test_every_form(tmp_path):
    pets = parse_classes(["cat"])
    path = tmp_path / "pets"
    path.write_text("cat\n")
    assert as_vocabulary(pets) is pets
    assert as_vocabulary(["cat"]) == pets
    assert as_vocabulary(path).classes == pets.classes
    assert as_vocabulary(str(path)).classes == pets.classes
    assert as_vocabulary("voc_20", names="plain").synonyms[0] == "aeroplane"
    assert as_vocabulary(["cat"], templates=["the {}"]).templates == ("the {}",)
    assert (
        as_vocabulary("voc_20", templates="vild").templates == as_vocabulary(pets, templates="vild").templates
    )


def test_neither_list_nor_file():
    with pytest.raises(
        VocabularyError,
        match=r"'voc20' is neither a built-in vocabulary nor a file\. Did you mean 'voc_20'\? Built in: .*"
        r"For classes of your own type classes='\[cat, dog\|puppy, stuff:grass\]'",
    ):
        as_vocabulary("voc20")
    with pytest.raises(VocabularyError, match=r"There is no file of classes at .*pets\.yaml"):
        as_vocabulary("pets.yaml")
    with pytest.raises(
        VocabularyError, match=r"names='plain' chooses among the names of a built-in vocabulary"
    ):
        as_vocabulary(["cat"], names="plain")


def test_a_vocabulary_made_in_code_is_checked_as_well():
    with pytest.raises(VocabularyError, match=r"Class 2 of the vocabulary 'x' has an empty name"):
        Vocabulary("x", (ClassEntry(("a",)), ClassEntry(())))
    with pytest.raises(VocabularyError, match=r"Class 1 of the vocabulary 'x' has an empty name"):
        Vocabulary("x", (ClassEntry(("a", " ")),))
    with pytest.raises(VocabularyError, match=r"The template 'photo' has 0 places"):
        Vocabulary("x", (ClassEntry(("a",)),), ("photo",))


def test_digest_follows_names_and_templates():
    digests = {
        parse_classes(["cat", "dog"]).digest,
        parse_classes(["dog", "cat"]).digest,
        parse_classes(["cat|dog"]).digest,
        as_vocabulary(["cat", "dog"], templates=["the {}"]).digest,
    }
    assert len(digests) == 4
    assert parse_classes(["cat", "stuff:dog"], name="other").digest in digests
