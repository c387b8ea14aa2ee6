"""toyworld as a data set: pictures that are drawn when they are asked for, with exact truth."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Bool

from ovseg.data.info import DatasetInfo
from ovseg.data.panoptic import instances_of, semantic_of
from ovseg.data.toyworld.layout import SPLITS, Split
from ovseg.data.toyworld.scene import Scene, draw_scene
from ovseg.data.toyworld.words import HIDDEN_THINGS, thing
from ovseg.errors import ConfigError
from ovseg.image import Image, Task
from ovseg.suggest import did_you_mean, listed
from ovseg.truth import PanopticTruth, TrueSegment, Truth
from ovseg.vocabulary import ClassEntry, Vocabulary, load_vocabulary

PICTURES: Mapping[Split, int] = {"val": 200, "train": 20000, "captions": 20000, "surprise": 40}
"""How many pictures a split is taken to have; each goes on without an end."""

SEEN = "toyworld_seen"
"""The list of the classes that segmenters train on."""

SMALLEST = 32


class Toyworld:
    """Pictures of a small world of things in colours and patterns, before stuff with textures.

    There are no files. A picture is a function of split, index and size; it shows the same at any size.

    Args:
        split: ``val`` has seen and unseen classes, ``train`` seen ones alone, ``captions`` both (for what
            learns words from names and boxes, never from masks), ``surprise`` classes that are in no list.
        size: side of the pictures in pixels, 32 or above.
        pictures: split -> how many pictures; splits that are left out have those of `PICTURES`.

    Raises:
        ConfigError: there is no such split, or the size or a count is out of its range.
    """

    info = DatasetInfo(
        "toyworld", "drawn by ovseg itself", "Apache-2.0", {str(split): n for split, n in PICTURES.items()}
    )
    tasks: tuple[Task, ...] = ("semantic", "panoptic", "instance")
    place = "drawn when asked for"
    vocabulary_by_split = True

    def __init__(
        self, *, split: str = "val", size: int = 384, pictures: Mapping[str, int] | None = None
    ) -> None:
        counts = {**self.info.pictures, **(pictures or {})}
        wrong = [word for word in (split, *counts) if word not in SPLITS]
        if wrong:
            raise ConfigError(
                f"toyworld: there is no split '{wrong[0]}'.{did_you_mean(wrong[0], SPLITS)} Splits: "
                f"{listed(SPLITS)}."
            )
        if size < SMALLEST:
            raise ConfigError(f"toyworld: size={size} must be at least {SMALLEST} pixels.")
        if counts[split] < 1:
            raise ConfigError(f"toyworld: pictures.{split}={counts[split]} must be at least 1.")
        self.split: Split = next(known for known in SPLITS if known == split)
        self.size = size
        self.keys: Sequence[str] = [f"{split}_{index:05}" for index in range(counts[split])]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The split's classes: a trained classifier must not see the names of unseen ones."""
        if self.split == "train":
            return load_vocabulary(SEEN)
        known = load_vocabulary("toyworld")
        if self.split != "surprise":
            return known
        hidden = tuple(ClassEntry(thing(name).synonyms) for name in HIDDEN_THINGS)
        return Vocabulary("toyworld_surprise", (*known.classes, *hidden))

    @property
    def training_names(self) -> tuple[str, ...]:
        """The names of the classes that count as seen for a method that was trained with none."""
        return load_vocabulary(SEEN).synonyms

    def image(self, index: int) -> Image:
        """See `ovseg.interfaces.Dataset`."""
        return self._scene(index).image.copy()

    def truth(self, index: int) -> Truth:
        """See `ovseg.interfaces.Dataset`; no pixel is void."""
        panoptic = self.panoptic_of(index)
        return Truth(
            image_size=(self.size, self.size),
            semantic=semantic_of(panoptic),
            panoptic=panoptic,
            instances=instances_of(panoptic, self._things),
        )

    def panoptic_of(self, index: int) -> PanopticTruth:
        """The panoptic view of a picture."""
        scene = self._scene(index)
        segments = (TrueSegment(segment.id, self._labels[segment.name]) for segment in scene.segments)
        return PanopticTruth(scene.ids.copy(), tuple(segments))

    def told_apart(self) -> Bool[np.ndarray, " pictures"]:
        """Of each picture, whether one of its segments at least is no crowd: there are no crowds."""
        return np.ones(len(self.keys), bool)

    def check(self) -> Iterable[str]:
        """See `ovseg.interfaces.Dataset`: what has no files cannot be damaged."""
        return ()

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {entry.name: label for label, entry in enumerate(self.vocabulary.classes)}

    @cached_property
    def _things(self) -> frozenset[int]:
        return frozenset(i for i, entry in enumerate(self.vocabulary.classes) if entry.is_thing)

    def _scene(self, index: int) -> Scene:
        return _drawn(self.split, index, self.size)


@lru_cache(maxsize=4)  # picture and truth are asked for one after the other
def _drawn(split: Split, index: int, size: int) -> Scene:
    return draw_scene(split, index, size)
