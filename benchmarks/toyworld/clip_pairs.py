"""Pictures and captions that the small CLIPs learn from: whole scenes, boxes in them, and crops.

A box is given for a thing and for a window that lies within one kind of stuff. Masks are used for nothing but
to know that a window lies within.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from corpus import Corpus

from ovseg.data.toyworld.captions import caption_of_name, caption_of_scene
from ovseg.data.toyworld.scene import Scene, Segment
from ovseg.data.toyworld.words import COLOURS, PATTERNS, STUFF, thing, toyworld_vocabulary

CELL = 8  # pixels; windows of stuff begin and end at multiples of it
ZOOM = (0.65, 1.0)
"""Share of a scene's side that is looked at."""
LEAST_SIDE = 28.0  # pixels of a box
LEAST_VISIBLE = 0.5
"""Share of a thing's box that must be in the picture, and that no box in front of it may cover."""


@dataclass
class Batch:
    """Pictures with named boxes, crops with names.

    Attributes:
        scenes: RGB, uint8 (b, s, s, 3).
        scene_captions: one for each.
        boxes: (left, top, right, bottom) in pixels.
        owners: of each box, the scene.
        names, captions: of each box, the class and a phrase about it; then those of the crops.
        crops: RGB, uint8 (m, t, t, 3).
    """

    scenes: np.ndarray
    crops: np.ndarray
    scene_captions: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)


def make_batch(
    corpus: Corpus, random: np.random.RandomState, *, scenes: int, side: int, crops: int, crop_side: int
) -> Batch:
    """Draw what one update looks at.

    Args:
        corpus: of the split "captions".
        random: decides everything.
        scenes: how many whole scenes.
        side: of a scene, in pixels.
        crops: how many crops.
        crop_side: of a crop, in pixels.
    """
    batch = Batch(
        np.empty((scenes, side, side, 3), np.uint8), np.empty((crops, crop_side, crop_side, 3), np.uint8)
    )
    for place in range(scenes):
        scene = look_at(corpus, random.randint(len(corpus)), side, random)
        batch.scenes[place] = scene.image
        batch.scene_captions.append(caption_of_scene(scene, random))
        for name, box in named_boxes(scene, random):
            batch.boxes.append(box)
            batch.owners.append(place)
            batch.names.append(name)
    for place in range(crops):
        name, batch.crops[place] = _crop(corpus, crop_side, random)
        batch.names.append(name)
    batch.captions = [caption_of_name(name, random) for name in batch.names]
    return batch


def look_at(corpus: Corpus, index: int, side: int, random: np.random.RandomState) -> Scene:
    """A square part of a scene, perhaps mirrored; its boxes are cut at the borders.

    What is seen of a thing by less than `LEAST_VISIBLE`, or is smaller than `LEAST_SIDE`, is not among the
    segments.
    """
    image = corpus.image(index)
    full = image.shape[0]
    part = round(full * random.uniform(*ZOOM))
    x, y = random.randint(0, full - part + 1, 2)
    mirrored = random.rand() < 0.5
    pixels = cv2.resize(image[y : y + part, x : x + part], (side, side), interpolation=cv2.INTER_LINEAR)
    at = ((np.arange(side) + 0.5) * part / side).astype(int)
    ids = corpus.ids(index)[y + at][:, x + at].astype(np.int32)
    if mirrored:
        pixels, ids = pixels[:, ::-1], ids[:, ::-1]
    segments = []
    for segment in corpus.segments(index):
        left, top, right, bottom = np.array(segment.box, float) - (x, y, x, y)
        area = (right - left) * (bottom - top)
        left, top, right, bottom = np.clip((left, top, right, bottom), 0, part) * (side / part)
        seen = (right - left) * (bottom - top) * (part / side) ** 2
        if min(right - left, bottom - top) < LEAST_SIDE or (segment.is_thing and seen < LEAST_VISIBLE * area):
            continue
        if mirrored:
            left, right = side - right, side - left
        box = (round(left), round(top), round(right), round(bottom))
        segments.append(Segment(segment.id, segment.name, segment.is_thing, box))
    return Scene(pixels, ids, tuple(segments))


def named_boxes(
    scene: Scene, random: np.random.RandomState
) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Classes and boxes: of the things that boxes in front leave free, of a window in each kind of stuff."""
    things = [segment for segment in scene.segments if segment.is_thing]
    for place, segment in enumerate(things):
        if all(_covered(segment.box, other.box) < LEAST_VISIBLE for other in things[place + 1 :]):
            yield segment.name, segment.box
    cells = scene.ids[CELL // 2 :: CELL, CELL // 2 :: CELL]
    for segment in scene.segments:
        if not segment.is_thing:
            window = window_within(cells == segment.id, random)
            if window is not None:
                yield segment.name, window


def window_within(
    inside: np.ndarray, random: np.random.RandomState, *, largest: int = 12
) -> tuple[float, float, float, float] | None:
    """A window in pixels, all of whose cells are inside (a map of cells); None where 4 x 4 do not fit."""
    for cells in (random.randint(4, largest + 1), 4):
        kernel = np.ones((cells, cells), np.uint8)
        fits = cv2.erode(
            inside.astype(np.uint8), kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        places = np.flatnonzero(fits)
        if len(places):
            y, x = divmod(int(places[random.randint(len(places))]), inside.shape[1])
            return x * CELL, y * CELL, (x + cells) * CELL, (y + cells) * CELL
    return None


def kinds_and_phrases(names: Sequence[str], random: np.random.RandomState) -> tuple[list[int], list[str]]:
    """For each name the number of its phrase; the phrases leave out colour and pattern ("a fish")."""
    numbers: dict[str, int] = {}
    labels, phrases = [], []
    for name in names:
        kind = name if name in STUFF else thing(name).kind
        if kind not in numbers:
            numbers[kind] = len(numbers)
            words = [word for word in (*COLOURS, *PATTERNS) if word in name.split()]
            said = caption_of_name(name, random).split(" ")
            phrases.append(" ".join(word for word in said if word not in words))
        labels.append(numbers[kind])
    return labels, phrases


def phrases_of_absent(names: Sequence[str], count: int, random: np.random.RandomState) -> list[str]:
    """Phrases about classes that are named in captions, but are not among the names; at most one for each."""
    absent = sorted({entry.names[0] for entry in toyworld_vocabulary().classes}.difference(names))
    chosen = random.permutation(len(absent))[:count] if count else ()
    return [caption_of_name(absent[place], random) for place in chosen]


def _covered(box: tuple[float, ...], by: tuple[float, ...]) -> float:
    width = max(0.0, min(box[2], by[2]) - max(box[0], by[0]))
    height = max(0.0, min(box[3], by[3]) - max(box[1], by[1]))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))


def _crop(corpus: Corpus, side: int, random: np.random.RandomState) -> tuple[str, np.ndarray]:
    while True:
        index = random.randint(len(corpus))
        image = corpus.image(index)
        size = image.shape[0]
        scene = Scene(image, corpus.ids(index).astype(np.int32), corpus.segments(index))
        found = list(named_boxes(scene, random))
        if found:
            break
    name, (left, top, right, bottom) = found[random.randint(len(found))]
    if name in STUFF:
        width = min(right - left, bottom - top)
    else:
        width = min(size, max(right - left, bottom - top) * random.uniform(0.9, 1.3))
    jitter = random.uniform(-0.06, 0.06, 2) * (name not in STUFF)
    x = np.clip((left + right - width) / 2 + jitter[0] * width, 0, size - width)
    y = np.clip((top + bottom - width) / 2 + jitter[1] * width, 0, size - width)
    part = image[int(y) : int(y + width), int(x) : int(x + width)]
    pixels = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    return name, pixels[:, ::-1] if random.rand() < 0.5 else pixels
