"""What is in a scene and where, before anything is painted. Needs no torch.

Lengths are shares of the picture's side, so a layout is the same at every size. Random numbers come from
numpy's `RandomState`, whose streams numpy keeps as they are for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

from ovseg.data.toyworld.painting import Pose, outline_mask
from ovseg.data.toyworld.words import (
    HIDDEN_THINGS,
    SEEN_THINGS,
    STUFF,
    UNSEEN_STUFF,
    UNSEEN_THINGS,
    Thing,
    thing,
)

Split = Literal["captions", "train", "val", "surprise"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Captions: all classes of the vocabulary, for learning words. Train: the seen ones, with masks. Val: all of
them again, in other pictures. Surprise: two things that no caption names, among seen ones."""

FEWEST, MOST = 4, 7  # things of a scene that are tried
SMALLEST, LARGEST = 0.11, 0.21  # radii
VISIBLE = 0.4  # share of a thing that others leave
COARSE = 96  # pixels that this is counted at, whatever the size of the picture


@dataclass(frozen=True)
class Placed:
    """A thing in its pose."""

    thing: Thing
    pose: Pose


@dataclass(frozen=True)
class Layout:
    """A scene in words and numbers.

    Attributes:
        stuff: names; `borders` say where each is.
        borders: region i + 1 lies below line i: its height at the middle, its slope, and the height,
            frequency and phase of its waves.
        things: from back to front.
        light: factors on the three channels.
        slope: how much brighter the picture is at its left (positive) or right border, and at its top or
            bottom.
        grain: standard deviation of the noise on each pixel, of colours in 0..1.
    """

    stuff: tuple[str, ...]
    borders: tuple[tuple[float, float, float, float, float], ...]
    things: tuple[Placed, ...]
    light: tuple[float, float, float]
    slope: tuple[float, float]
    grain: float


def random_state(split: Split, index: int, purpose: int) -> np.random.RandomState:
    """Numbers that depend on these three alone."""
    seed = np.random.SeedSequence([SPLITS.index(split), index, purpose])
    return np.random.RandomState(np.random.MT19937(seed))


def make_layout(split: Split, index: int) -> Layout:
    """The scene at a place of a split.

    Args:
        split: what may be in it.
        index: 0 or above; there is no last one.
    """
    random = random_state(split, index, 0)
    stuff = _choose_stuff(split, random)
    middles = np.linspace(0, 1, len(stuff) + 1)[1:-1] + random.uniform(-0.13, 0.13, len(stuff) - 1)
    borders = tuple(
        (
            float(middle),
            random.uniform(-0.2, 0.2),
            random.uniform(0.0, 0.03),
            random.uniform(1, 4),
            random.uniform(0, 6),
        )
        for middle in middles
    )
    gain = random.uniform(0.82, 1.08)
    light = tuple(float(gain * random.uniform(0.95, 1.05)) for _ in range(3))
    return Layout(
        stuff=stuff,
        borders=borders,
        things=_place_things(_choose_things(split, random), random),
        light=(light[0], light[1], light[2]),
        slope=(random.uniform(-0.12, 0.12), random.uniform(-0.12, 0.12)),
        grain=random.uniform(0.0, 0.025),
    )


def _choose_stuff(split: Split, random: np.random.RandomState) -> tuple[str, ...]:
    """Two or three kinds; where there is a sky, it is mostly on top."""
    known = [word for word in STUFF if split in ("captions", "val") or word not in UNSEEN_STUFF]
    count = 2 if random.rand() < 0.55 else 3
    chosen = [known[i] for i in random.choice(len(known), count, replace=False)]
    if "sky" in chosen and random.rand() < 0.8:
        chosen.sort(key=lambda word: word != "sky")
    return tuple(chosen)


def _choose_things(split: Split, random: np.random.RandomState) -> Sequence[Thing]:
    names = SEEN_THINGS + (UNSEEN_THINGS if split in ("captions", "val") else ())
    count = random.randint(FEWEST, MOST + 1)
    chosen = [names[i] for i in random.choice(len(names), count)]
    if split == "surprise":
        chosen[-2:] = [HIDDEN_THINGS[i] for i in random.choice(len(HIDDEN_THINGS), 2, replace=False)]
    return [thing(name) for name in chosen]


def _place_things(things: Sequence[Thing], random: np.random.RandomState) -> tuple[Placed, ...]:
    """Poses at which nothing is hidden too much by what comes later; a thing that finds no place is left out.

    The last one is placed first: who stands in front gives way to nobody.
    """
    placed: list[Placed] = []
    taken = np.zeros((COARSE, COARSE), bool)
    for one in reversed(things):
        for _ in range(12):
            pose = _random_pose(random)
            mask = outline_mask(one, pose, COARSE)
            if (mask & ~taken).sum() >= max(VISIBLE * mask.sum(), 40):
                placed.append(Placed(one, pose))
                taken |= mask
                break
    return tuple(reversed(placed))


def _random_pose(random: np.random.RandomState) -> Pose:
    radius = random.uniform(SMALLEST, LARGEST)
    x, y = random.uniform(0.6 * radius, 1 - 0.6 * radius, 2)
    tint = random.uniform(0.88, 1.08, 3)
    return Pose(
        x=float(x),
        y=float(y),
        radius=radius,
        turn=random.uniform(-0.5, 0.5),
        stretch=random.uniform(0.85, 1.2),
        mirrored=bool(random.rand() < 0.5),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
    )


def stuff_regions(layout: Layout, n: int) -> Int[np.ndarray, "n n"]:
    """Index into `Layout.stuff` of each pixel of a canvas."""
    axis = (np.arange(n) + 0.5) / n
    regions = np.zeros((n, n), np.int64)
    for middle, slope, height, frequency, phase in layout.borders:
        line = middle + slope * (axis - 0.5) + height * np.sin(2 * np.pi * frequency * axis + phase)
        below: Bool[np.ndarray, "n n"] = axis[:, None] > line[None, :]
        regions += below
    return regions
