"""Sentences about toyworld, from which the small CLIPs learn its words. Needs no torch."""

import re

import numpy as np

from ovseg.data.toyworld.scene import Scene
from ovseg.data.toyworld.words import COLOURS, KINDS, PATTERNS, STUFF, Thing, thing
from ovseg.vocabulary.builtin import load_templates

_PLAIN = (
    "{}",
    "a {}",
    "the {}",
    "one {}",
    "a picture of a {}",
    "here is a {}",
    "look, a {}!",
    "a drawing of the {}",
)
_PLACES = ("on", "above", "beside", "near", "in front of")


def caption_of_name(name: str, random: np.random.RandomState) -> str:
    """A phrase about one class, in its own or other words, in one of the templates that methods ask with too.

    Args:
        name: of a class, as in the vocabulary.
        random: chooses the words and the template.
    """
    asked = (*load_templates("vild"), *load_templates("imagenet"))
    templates = _PLAIN if random.rand() < 0.4 else asked
    return templates[random.randint(len(templates))].format(_said(name, random))


def caption_of_scene(scene: Scene, random: np.random.RandomState) -> str:
    """A sentence about a whole picture: up to three things and one or two kinds of stuff, in any order."""
    things = [segment.name for segment in scene.segments if segment.is_thing]
    stuff = [segment.name for segment in scene.segments if not segment.is_thing]
    named = [f"a {_said(things[i], random)}" for i in random.permutation(len(things))[:3]]
    around = [_said(stuff[i], random) for i in random.permutation(len(stuff))[:2]]
    place = _PLACES[random.randint(len(_PLACES))]
    return f"{' and '.join(named)} {place} the {' and the '.join(around)}".strip()


def caption_words() -> tuple[str, ...]:
    """Every word that a caption may hold, in lower case, sorted."""
    texts = [*_PLAIN, *load_templates("vild"), *load_templates("imagenet"), *_PLACES, "and", "the", "a"]
    texts += [*COLOURS, *PATTERNS, *KINDS, *STUFF]
    texts += [word for others in (*KINDS.values(), *STUFF.values()) for word in others]
    return tuple(sorted(set(re.findall(r"[a-z]+", " ".join(texts).lower()))))


def _said(name: str, random: np.random.RandomState) -> str:
    """The name, or one time in four with another word for it."""
    others = _synonyms(name)
    if not others or random.rand() > 0.25:
        return name
    return others[random.randint(len(others))]


def _synonyms(name: str) -> tuple[str, ...]:
    if name in STUFF:
        return STUFF[name]
    one: Thing = thing(name)
    return one.synonyms[1:]
