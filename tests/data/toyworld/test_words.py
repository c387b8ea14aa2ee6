"""The classes of toyworld: which are new, and that each of their words is known."""

from itertools import chain

from ovseg.data.toyworld.words import (
    COLOURS,
    HIDDEN_THINGS,
    KINDS,
    PATTERNS,
    SEEN_THINGS,
    STUFF,
    UNSEEN_STUFF,
    UNSEEN_THINGS,
    thing,
    toyworld_vocabulary,
)


def test_every_name_is_made_of_the_worlds_words() -> None:
    for name in (*SEEN_THINGS, *UNSEEN_THINGS, *HIDDEN_THINGS):
        one = thing(name)
        assert one.name == name
        assert (one.colour in COLOURS, one.pattern in PATTERNS, one.kind in KINDS) == (True, True, True)


def test_no_class_is_in_two_groups() -> None:
    names = [*SEEN_THINGS, *UNSEEN_THINGS, *HIDDEN_THINGS, *STUFF]
    assert len(set(names)) == len(names)
    assert set(UNSEEN_STUFF) < set(STUFF)


def test_what_is_new_about_a_class_is_only_how_its_words_are_combined() -> None:
    seen = [thing(name) for name in SEEN_THINGS]
    for name in (*UNSEEN_THINGS, *HIDDEN_THINGS):
        one = thing(name)
        assert one.kind in {other.kind for other in seen}
        assert one.colour in {other.colour for other in seen}
        assert one.pattern in {other.pattern for other in seen}


def test_each_kind_has_one_unseen_class() -> None:
    assert sorted(thing(name).kind for name in UNSEEN_THINGS) == sorted(KINDS)


def test_the_vocabulary_has_no_name_twice_and_none_that_is_hidden() -> None:
    vocabulary = toyworld_vocabulary()
    assert len(vocabulary) == len(SEEN_THINGS) + len(UNSEEN_THINGS) + len(STUFF)
    assert len(set(vocabulary.synonyms)) == len(vocabulary.synonyms)
    hidden = chain.from_iterable(thing(name).synonyms for name in HIDDEN_THINGS)
    assert set(vocabulary.synonyms).isdisjoint(hidden)


def test_synonyms_exchange_the_kind_alone() -> None:
    by_name = {entry.name: entry for entry in toyworld_vocabulary().classes}
    assert by_name["striped red house"].names == ("striped red house", "striped red cottage")
    assert by_name["sea"].names == ("sea", "ocean")
    assert (by_name["sea"].is_thing, by_name["red fish"].is_thing) == (False, True)
