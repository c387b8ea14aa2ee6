"""Scenes: the same each time, exact in what they say, and with nothing in a split that must not be there."""

import cv2
import numpy as np
import pytest

from ovseg.data.toyworld.layout import SPLITS, Split, make_layout
from ovseg.data.toyworld.painting import Pose, outline_mask, paint_thing
from ovseg.data.toyworld.scene import draw_scene
from ovseg.data.toyworld.textures import TEXTURES
from ovseg.data.toyworld.things import BUILDERS
from ovseg.data.toyworld.words import (
    HIDDEN_THINGS,
    KINDS,
    SEEN_THINGS,
    STUFF,
    UNSEEN_STUFF,
    UNSEEN_THINGS,
    Thing,
)


def test_a_scene_is_the_same_each_time_and_differs_from_its_neighbours() -> None:
    one, again, other = draw_scene("val", 3, 64), draw_scene("val", 3, 64), draw_scene("val", 4, 64)
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.ids, again.ids)
    assert one.segments == again.segments
    assert (one.image != other.image).mean() > 0.5
    assert (draw_scene("train", 3, 64).image != one.image).mean() > 0.5


def test_a_scene_keeps_its_numbers_on_every_machine() -> None:
    layout = make_layout("val", 0)
    assert layout.stuff == ("lava", "wooden floor", "grass")
    names = [placed.thing.name for placed in layout.things]
    assert names == [
        "dotted purple ring",
        "striped blue flower",
        "striped blue boat",
        "purple butterfly",
        "red boat",
        "green cup",
    ]
    assert layout.things[0].pose.radius == pytest.approx(0.117622, abs=1e-6)


@pytest.mark.parametrize("index", range(4))
def test_segments_are_what_the_ids_say(index: int) -> None:
    scene = draw_scene("val", index, 96)
    assert set(np.unique(scene.ids)) == {segment.id for segment in scene.segments}
    for segment in scene.segments:
        rows, columns = np.nonzero(scene.ids == segment.id)
        assert segment.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert segment.is_thing == (segment.name not in STUFF)


@pytest.mark.parametrize("index", range(3))
def test_a_scene_is_the_same_at_every_size(index: int) -> None:
    small, large = draw_scene("train", index, 96), draw_scene("train", index, 192)
    assert [segment.name for segment in small.segments] == [segment.name for segment in large.segments]
    assert (small.ids == large.ids[1::2, 1::2]).mean() > 0.97
    halved = cv2.resize(large.image, (96, 96), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = [cv2.blur(image.astype(np.float32), (9, 9)) for image in (small.image, halved)]
    assert np.abs(blurred[0] - blurred[1]).mean() < 6


def test_each_split_holds_what_it_may() -> None:
    allowed = {
        "captions": {*SEEN_THINGS, *UNSEEN_THINGS, *STUFF},
        "train": {*SEEN_THINGS, *STUFF}.difference(UNSEEN_STUFF),
        "val": {*SEEN_THINGS, *UNSEEN_THINGS, *STUFF},
        "surprise": {*SEEN_THINGS, *HIDDEN_THINGS, *STUFF}.difference(UNSEEN_STUFF),
    }
    for split in SPLITS:
        layouts = [make_layout(split, index) for index in range(150)]
        found = {placed.thing.name for layout in layouts for placed in layout.things}
        found.update(word for layout in layouts for word in layout.stuff)
        assert found <= allowed[split]
        assert len(found) > 0.9 * len(allowed[split])


@pytest.mark.parametrize("index", range(8))
def test_a_surprise_shows_a_hidden_thing_in_front(index: int) -> None:
    assert make_layout("surprise", index).things[-1].thing.name in HIDDEN_THINGS


def test_nothing_is_hidden_by_what_is_before_it() -> None:
    shares = []
    for index in range(25):
        layout = make_layout("val", index)
        masks = [outline_mask(placed.thing, placed.pose, 96) for placed in layout.things]
        for depth, mask in enumerate(masks):
            before = np.any(masks[depth + 1 :], axis=0) if masks[depth + 1 :] else np.zeros_like(mask)
            shares.append((mask & ~before).sum() / mask.sum())
    assert min(shares) >= 0.4
    assert min(shares) < 0.8  # things do overlap


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fills_its_place_and_shows_its_colour(kind: str) -> None:
    image = np.full((128, 128, 3), 0.5, np.float32)
    mask = paint_thing(image, Thing("red", "plain", kind), Pose(x=0.5, y=0.5, radius=0.4))
    share = mask.sum() / (0.8 * 128) ** 2
    assert 0.2 < share < 0.9
    red = (image[mask] * np.array([1, -1, -1])).sum(1) > 0.2
    assert red.mean() > 0.1
    outside = np.abs(image[~mask] - 0.5)
    assert (outside.max(1) < 0.25).all()  # at most a shadow


@pytest.mark.parametrize("pattern", ["striped", "dotted"])
def test_a_pattern_is_white_on_the_colour(pattern: str) -> None:
    image = np.zeros((128, 128, 3), np.float32)
    mask = paint_thing(image, Thing("blue", pattern, "ring"), Pose(x=0.5, y=0.5, radius=0.4))
    plain = np.zeros((128, 128, 3), np.float32)
    paint_thing(plain, Thing("blue", "plain", "ring"), Pose(x=0.5, y=0.5, radius=0.4))
    white = (image[mask].min(1) > 0.7).mean() - (plain[mask].min(1) > 0.7).mean()
    assert 0.1 < white < 0.6


def test_there_is_a_drawing_for_every_word() -> None:
    assert set(BUILDERS) == set(KINDS)
    assert set(TEXTURES) == set(STUFF)


@pytest.mark.parametrize("word", STUFF)
def test_a_texture_is_of_colours_and_no_flat_area(word: str) -> None:
    texture = TEXTURES[word](np.random.RandomState(0), 64)
    assert (texture.shape, texture.dtype) == ((64, 64, 3), np.float32)
    assert -0.3 <= texture.min() <= texture.max() <= 1.5
    assert texture.std((0, 1)).max() > 0.02


def test_stuff_cannot_be_told_by_its_place() -> None:
    tops: dict[str, int] = {}
    for index in range(300):
        layout = make_layout("val", index)
        tops[layout.stuff[0]] = tops.get(layout.stuff[0], 0) + 1
    assert len(tops) == len(STUFF)
    split: Split = "val"
    assert any(make_layout(split, index).stuff[-1] == "sky" for index in range(300))
