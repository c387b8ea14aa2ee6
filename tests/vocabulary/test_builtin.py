"""The built-in lists against what FC-CLIP's official code counts, and against facts of the data sets."""

from pathlib import Path

import pytest
import yaml

from ovseg.errors import VocabularyError
from ovseg.vocabulary import (
    as_templates,
    is_seen,
    load_templates,
    load_vocabulary,
    template_names,
    vocabulary_info,
    vocabulary_names,
)

# name: classes, fcclip names, plain names, things, classes seen in training, ignored value of label maps
OFFICIAL = {
    "coco_panoptic": (133, 254, 133, 80, 133, 255),
    "ade20k_150": (150, 403, 225, 100, 64, 255),
    "ade20k_847": (847, 1342, 1281, None, 101, 65535),
    "pascal_context_59": (59, 160, 59, None, 51, 255),
    "pascal_context_459": (459, 559, 459, None, 85, 65535),
    "voc_21": (21, 153, 21, None, 21, 255),
    "voc_20": (20, 79, 20, None, 20, 255),
    "cityscapes": (19, 60, 19, 8, 17, 255),
    "mapillary_vistas": (65, 153, 65, 37, 26, 65),
    "coco_stuff": (171, 328, 171, None, 135, 255),
}
TRIDENT = {
    "voc_21": (21, 46),
    "pascal_context_60": (60, 60),
    "coco_object": (81, 97),
    "voc_20": (20, 20),
    "pascal_context_59": (59, 59),
    "coco_stuff": (171, 171),
    "cityscapes": (19, 19),
    "ade20k_150": (150, 150),
    "ade20k_847": (847, 847),
    "pascal_context_459": (459, 459),
}


def test_all_lists_are_there():
    assert set(vocabulary_names()) == {*OFFICIAL, *TRIDENT, "lvis", "toyworld", "toyworld_seen"}
    assert list(vocabulary_names()) == sorted(vocabulary_names())


@pytest.mark.parametrize("name", OFFICIAL)
def test_counts_are_those_of_the_official_code(name):
    classes, tuned, plain, things, seen, ignore = OFFICIAL[name]
    vocabulary = load_vocabulary(name, names="fcclip")
    training = load_vocabulary("coco_panoptic", names="fcclip").synonyms

    assert len(training) == 254
    assert (len(vocabulary), len(vocabulary.synonyms)) == (classes, tuned)
    assert len(load_vocabulary(name, names="plain").synonyms) == plain
    assert sum(is_seen(vocabulary, training)) == seen
    assert vocabulary_info(name).ignore_label == ignore
    if things is not None:
        assert sum(entry.is_thing for entry in vocabulary.classes) == things


@pytest.mark.parametrize("name", TRIDENT)
def test_trident_counts(name):
    vocabulary = load_vocabulary(name, names="trident")
    assert (len(vocabulary), len(vocabulary.synonyms)) == TRIDENT[name]
    # Its post-processing relies on synonyms being the background's alone.
    assert all(len(entry.names) == 1 for entry in vocabulary.classes[1:])


@pytest.mark.parametrize("name", vocabulary_names())
def test_every_list_is_whole(name):
    info = vocabulary_info(name)
    assert info.default_names in info.names
    assert info.title
    assert info.sources
    assert info.licence
    for names in info.names:
        vocabulary = load_vocabulary(name, names=names)
        assert vocabulary.name == name
        assert len(vocabulary) == info.classes
        assert vocabulary.templates is None
        ids = [entry.id for entry in vocabulary.classes]
        assert None not in ids
        assert len(set(ids)) == len(ids)
        for entry in vocabulary.classes:
            assert entry.color is None or all(0 <= part <= 255 for part in entry.color)
    assert load_vocabulary(name) == load_vocabulary(name, names=info.default_names)


def test_lvis():
    lvis = load_vocabulary("lvis")
    assert len(lvis) == 1203
    assert [entry.id for entry in lvis.classes] == list(range(1, 1204))
    assert lvis.classes[0].names == ("aerosol can", "spray can")


def test_facts_of_single_classes():
    person = load_vocabulary("coco_panoptic").classes[0]
    assert (person.name, person.id, person.is_thing, person.color) == ("person", 1, True, (220, 20, 60))
    assert person.names[1:3] == ("child", "girl")
    road = load_vocabulary("cityscapes").classes[0]
    assert (road.names, road.id, road.is_thing) == (("road", "railroad"), 7, False)
    background, *objects = load_vocabulary("coco_object").classes
    assert not background.is_thing
    assert [entry.id for entry in objects][:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    assert not load_vocabulary("voc_21").classes[0].is_thing


def test_voc_20_is_voc_21_without_its_background():
    for names in ("fcclip", "plain", "trident"):
        assert (
            load_vocabulary("voc_20", names=names).classes
            == load_vocabulary("voc_21", names=names).classes[1:]
        )


def test_blanks_of_the_sources_are_kept():
    assert load_vocabulary("ade20k_150", names="plain").classes[8].names == ("window ",)
    assert "c p u " in load_vocabulary("ade20k_847", names="plain").synonyms
    assert load_vocabulary("pascal_context_60").classes[-1].names == ("wood ",)


def test_names_that_two_classes_share_are_those_known():
    def shared(name):
        owners = {}
        for entry in load_vocabulary(name).classes:
            for synonym in set(entry.names):
                owners.setdefault(synonym, []).append(entry)
        return {synonym for synonym, entries in owners.items() if len(entries) > 1}

    assert len(shared("ade20k_847")) == 45
    assert shared("pascal_context_459") == {"rug", "stone"}
    assert shared("coco_object") == {"bed"}


def test_commas_do_not_split_tridents_names():
    assert load_vocabulary("ade20k_847", names="trident").classes[1].names == ("building, edifice",)


def test_unknown_list():
    with pytest.raises(
        VocabularyError,
        match=r"There is no vocabulary 'ade20k_15'\. Did you mean 'ade20k_150'\? Built in: ade20k_150, ",
    ):
        load_vocabulary("ade20k_15")


@pytest.mark.parametrize(
    ("name", "names", "message"),
    [
        (
            "coco_object",
            "fcclip",
            r"'coco_object' has no 'fcclip' names, only: trident\. Type vocabulary\.names=trident",
        ),
        ("lvis", "plain", r"'lvis' has no 'plain' names, only: fcclip\."),
        ("mapillary_vistas", "trident", r"only: fcclip, plain\."),
        ("ade20k_150", "plein", r"has no 'plein' names, only: fcclip, plain, trident\."),
    ],
)
def test_variant_that_a_list_lacks(name, names, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(name, names=names)


def test_template_sets():
    assert template_names() == ("imagenet", "vild")
    vild, imagenet = load_templates("vild"), load_templates("imagenet")
    assert (len(vild), len(imagenet)) == (14, 80)
    assert vild[:2] == ("a photo of a {}.", "This is a photo of a {}")
    assert [template for template in vild if not template.endswith(".")] == [
        "This is a photo of a {}",
        "There is a {} in the scene",
        "There is the {} in the scene",
        "a photo of a {} in the scene",
    ]
    assert imagenet[0] == "a bad photo of a {}."
    assert imagenet[-1] == "a tattoo of the {}."
    assert len(set(imagenet)) == 80


def test_templates_come_with_the_vocabulary_when_asked_for():
    assert load_vocabulary("voc_20", templates="vild").templates == load_templates("vild")
    assert load_vocabulary("voc_20", templates=["the {}"]).templates == ("the {}",)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ("vidl", r"There are no templates 'vidl'\. Did you mean 'vild'\? Built in: imagenet, vild\."),
        ([], r"The list of templates is empty\. Give at least one, for example templates="),
        (["a photo"], r"The template 'a photo' has 0 places for the name\. It needs exactly one \{\}"),
        (["{} and {}"], r"The template '\{\} and \{\}' has 2 places for the name"),
        ([3], r"The template 3 is int, not text\. Put it in quotes"),
    ],
)
def test_templates_that_are_none(templates, message):
    with pytest.raises(VocabularyError, match=message):
        as_templates(templates)


def test_one_config_per_list():
    folder = Path(__file__).parents[2] / "conf" / "vocabulary"
    assert sorted(path.stem for path in folder.iterdir()) == list(vocabulary_names())
    for path in folder.iterdir():
        node = yaml.safe_load(path.read_text())
        assert node == {
            "name": path.stem,
            "names": vocabulary_info(path.stem).default_names,
            "templates": None,
        }
        assert len(load_vocabulary(**node)) == vocabulary_info(path.stem).classes
