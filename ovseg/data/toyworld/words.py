"""What there is in toyworld and what it is called. Needs no torch.

A thing is a kind in a colour and perhaps with a pattern; its name is put together of the three ("striped blue
fish"), so that a class can be new although each of its words is known. Stuff has a texture of its own and one
word or two.

Four groups of classes:

* *seen*: masks and names in the split ``train``;
* *unseen*: in the vocabulary and in the split ``val``, named in the captions, but in no picture of ``train``;
* *hidden*: in no vocabulary, caption, ``train`` or ``val``; drawn in the split ``surprise`` alone.
"""

from dataclasses import dataclass

from ovseg.vocabulary import ClassEntry, Vocabulary

COLOURS = ("red", "yellow", "green", "blue", "purple")
PATTERNS = ("plain", "striped", "dotted")
"""A plain thing's name has no pattern in it."""

KINDS = {
    "fish": (),
    "house": ("cottage",),
    "car": ("automobile",),
    "balloon": ("hot air balloon",),
    "star": (),
    "mushroom": ("toadstool",),
    "butterfly": (),
    "flower": ("blossom",),
    "boat": ("sailboat",),
    "cup": ("mug",),
    "umbrella": ("parasol",),
    "ring": ("donut",),
}
"""Every kind of thing, with other words for it."""

STUFF = {
    "sky": ("heavens",),
    "sea": ("ocean",),
    "sand": ("beach",),
    "grass": ("lawn",),
    "snow": (),
    "brick wall": ("bricks",),
    "wooden floor": ("planks",),
    "hedge": ("bushes",),
    "carpet": ("rug",),
    "pebbles": ("gravel",),
    "tiles": ("tiled wall",),
    "lava": ("magma",),
}
"""Every kind of stuff, with other words for it."""

UNSEEN_STUFF = ("pebbles", "tiles", "lava")
UNSEEN_THINGS = (
    "blue fish",
    "striped red house",
    "yellow car",
    "dotted purple balloon",
    "green star",
    "blue mushroom",
    "striped yellow butterfly",
    "red flower",
    "dotted green boat",
    "purple cup",
    "striped blue umbrella",
    "red ring",
)
"""One of each kind: the kind, the colour and the pattern are known from other classes."""

SEEN_THINGS = (
    "red fish",
    "striped yellow fish",
    "dotted green fish",
    "blue house",
    "yellow house",
    "dotted purple house",
    "red car",
    "striped green car",
    "dotted blue car",
    "red balloon",
    "striped green balloon",
    "blue balloon",
    "yellow star",
    "striped red star",
    "dotted blue star",
    "red mushroom",
    "dotted yellow mushroom",
    "striped purple mushroom",
    "purple butterfly",
    "blue butterfly",
    "dotted red butterfly",
    "yellow flower",
    "purple flower",
    "striped blue flower",
    "red boat",
    "striped blue boat",
    "yellow boat",
    "green cup",
    "striped red cup",
    "dotted yellow cup",
    "green umbrella",
    "dotted red umbrella",
    "striped purple umbrella",
    "green ring",
    "striped yellow ring",
    "dotted purple ring",
)

HIDDEN_THINGS = (
    "purple fish",
    "purple car",
    "dotted blue mushroom",
    "striped green star",
    "yellow umbrella",
    "blue ring",
)


@dataclass(frozen=True)
class Thing:
    """A class of things.

    Attributes:
        colour, pattern, kind: one of `COLOURS`, `PATTERNS` and `KINDS`.
    """

    colour: str
    pattern: str
    kind: str

    @property
    def name(self) -> str:
        """As in the vocabulary: pattern (unless plain), colour, kind."""
        return thing_name(self.colour, self.pattern, self.kind)

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Its name, then the same with the other words for its kind."""
        return (self.name, *(thing_name(self.colour, self.pattern, word) for word in KINDS[self.kind]))


def thing_name(colour: str, pattern: str, kind: str) -> str:
    """The words of a thing in the order in which people say them."""
    return f"{colour} {kind}" if pattern == "plain" else f"{pattern} {colour} {kind}"


def thing(name: str) -> Thing:
    """The thing behind a name of the lists above."""
    *patterns, colour, kind = name.split()
    return Thing(colour, patterns[0] if patterns else "plain", kind)


def toyworld_vocabulary() -> Vocabulary:
    """All classes but the hidden ones, things first; seen before unseen in both."""
    things = [ClassEntry(thing(name).synonyms, is_thing=True) for name in (*SEEN_THINGS, *UNSEEN_THINGS)]
    known = [word for word in STUFF if word not in UNSEEN_STUFF]
    stuff = [ClassEntry((word, *STUFF[word]), is_thing=False) for word in (*known, *UNSEEN_STUFF)]
    return Vocabulary(name="toyworld", classes=(*things, *stuff))
