import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ovseg.cli.typed import readable


def value_of(word):
    (read,) = readable([word])
    return OverridesParser.create().parse_override(read).value()


@pytest.mark.parametrize(
    "word",
    [
        "model=fcclip",
        "input=a.jpg",
        "classes=[cat, dog|puppy, stuff:grass]",
        "-m",
        "--cfg",
        "input",
        "classes=names.txt",
    ],
)
def test_what_hydra_reads_is_left_alone(word):
    assert readable([word]) == [word]


@pytest.mark.parametrize(
    "path",
    [
        "IMG (1).jpg",
        "it's.jpg",
        "a,b.jpg",
        "a=b.jpg",
        "été/猫.png",
        'x"y',
        "a b",
        "x[1].png",
        "C:\\é\\",
        'é\\"',
        "{a}",
    ],
)
def test_paths_reach_the_task_as_they_were_typed(path):
    assert value_of(f"input={path}") == path
    assert value_of(f"output={path}") == path


@pytest.mark.parametrize(
    ("typed", "classes"),
    [
        ("[cat, dog|puppy, stuff:grass]", ["cat", "dog|puppy", "stuff:grass"]),
        ("[traffic light, cat]", ["traffic light", "cat"]),
        ('[cat, "salt, pepper"]', ["cat", "salt, pepper"]),
        ("[café, 猫]", ["café", "猫"]),
        ("[driver's seat, cat]", ["driver's seat", "cat"]),
        ("cat, dog", ["cat", "dog"]),
        ("[TV (old), x=y, 5\" nail, 'a, b', c]", ["TV (old)", "x=y", '5" nail', "a, b", "c"]),
        ("[é\\]", ["é\\"]),
        ("[é, ]", ["é"]),
        ("[é,, b]", ["é", "", "b"]),
    ],
)
def test_class_lists_are_read_as_people_write_them(typed, classes):
    assert value_of(f"classes={typed}") == classes


@pytest.mark.parametrize("word", ["classes=[é", "classes=é]", "input=[é,b]", "input='é", "model.weights=é"])
def test_what_cannot_be_meant_is_left_for_hydra_to_refuse(word):
    assert readable([word]) == [word]


def test_a_sweep_keeps_its_commas():
    words = ["-m", "input=a,b", "classes=[a],[b]"]
    assert readable(words) == words
