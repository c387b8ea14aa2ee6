"""Captions name what is there, and nothing that must stay hidden."""

import re

import numpy as np

from ovseg.data.toyworld.captions import caption_of_name, caption_of_scene, caption_words
from ovseg.data.toyworld.scene import draw_scene
from ovseg.data.toyworld.words import HIDDEN_THINGS, thing


def test_a_phrase_holds_the_name_or_another_word_for_it() -> None:
    random = np.random.RandomState(0)
    phrases = [caption_of_name("striped blue boat", random) for _ in range(200)]
    assert all("striped blue boat" in phrase or "striped blue sailboat" in phrase for phrase in phrases)
    assert any("sailboat" in phrase for phrase in phrases)
    assert len(set(phrases)) > 40


def test_a_sentence_names_what_is_in_the_picture() -> None:
    random = np.random.RandomState(0)
    scene = draw_scene("captions", 1, 32)
    words = {
        synonym for segment in scene.segments if segment.is_thing for synonym in thing(segment.name).synonyms
    }
    for _ in range(20):
        sentence = caption_of_scene(scene, random)
        assert sum(name in sentence for name in words) >= min(3, len(words)) - 1


def test_the_words_are_all_that_captions_hold() -> None:
    random = np.random.RandomState(1)
    known = set(caption_words())
    for index in range(40):
        scene = draw_scene("captions", index, 32)
        texts = [caption_of_scene(scene, random), *(caption_of_name(s.name, random) for s in scene.segments)]
        for text in texts:
            assert set(re.findall(r"[a-z]+", text.lower())) <= known
            assert not any(name in text for name in HIDDEN_THINGS)
