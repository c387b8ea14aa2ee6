"""Regions of label maps against hand-drawn ones, and a flood fill in plain Python."""

import torch

from ovseg.models.common.label_views import find_regions, instance_view, panoptic_view
from ovseg.types import NOTHING

PICTURE = """
aa..b
aa.bb
..s..
a.ss.
.a.ss
"""
IS_THING = (True, True, False)


def drawn(text=PICTURE):
    """A label map: a and b are things, s is stuff, a point is nothing."""
    codes = {"a": 0, "b": 1, "s": 2, ".": NOTHING}
    return torch.tensor([[codes[letter] for letter in line] for line in text.split()])


def test_things_are_parted_and_stuff_is_one():
    labels = drawn()
    likely = torch.arange(25).view(5, 5) / 25
    regions = find_regions(labels, likely, IS_THING)
    assert [(r.label, r.area, r.is_thing) for r in regions] == [
        (0, 4, True),
        (0, 2, True),  # along a corner
        (1, 3, True),
        (2, 5, False),
    ]
    panoptic = panoptic_view(regions, (5, 5))
    assert panoptic.ids.tolist() == [
        [1, 1, 0, 0, 3],
        [1, 1, 0, 3, 3],
        [0, 0, 4, 0, 0],
        [2, 0, 4, 4, 0],
        [0, 2, 0, 4, 4],
    ]
    for segment in panoptic.segments:
        inside = panoptic.ids == segment.id
        assert segment.area == int(inside.sum())
        assert abs(segment.score - float(likely[inside].mean())) < 1e-6
        assert segment.is_thing == IS_THING[segment.label]
        assert (labels[inside] == segment.label).all()
    instances = instance_view(regions, (5, 5), limit=100)
    assert instances.labels.tolist() == [0, 1, 0]  # by score: the lower one first
    assert instances.scores.tolist() == sorted(instances.scores.tolist(), reverse=True)
    assert torch.equal(instances.masks[0], panoptic.ids == 2)
    assert instance_view(regions, (5, 5), limit=1).labels.tolist() == [0]


def test_small_things_are_left_out_and_small_stuff_is_not():
    regions = find_regions(drawn("s..aa\n.b.aa"), torch.ones(2, 5), IS_THING, min_area=2)
    assert [(r.label, r.area) for r in regions] == [(0, 4), (2, 1)]


def test_nothing():
    regions = find_regions(torch.full((3, 4), NOTHING), torch.ones(3, 4), IS_THING)
    assert regions == []
    assert not panoptic_view(regions, (3, 4)).ids.any()
    instances = instance_view(regions, (3, 4), limit=5)
    assert instances.masks.shape == (0, 3, 4)
    assert len(instances.scores) == len(instances.labels) == 0


def test_against_a_flood_fill():
    labels = torch.randint(-1, 3, (17, 23))
    found = {
        (region.label, frozenset(_pixels(region)))
        for region in find_regions(labels, torch.rand(17, 23), (True, True, True))
    }
    assert found == flooded(labels.tolist())


def _pixels(region):
    rows, columns = region.mask.nonzero()
    return zip((rows + region.rows.start).tolist(), (columns + region.columns.start).tolist(), strict=True)


def flooded(labels):
    left = {(y, x) for y, line in enumerate(labels) for x, label in enumerate(line) if label != NOTHING}
    found = set()
    while left:
        start = left.pop()
        label = labels[start[0]][start[1]]
        region, border = {start}, [start]
        while border:
            y, x = border.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            near = {place for place in near if labels[place[0]][place[1]] == label}
            left -= near
            region |= near
            border += near
        found.add((label, frozenset(region)))
    return found
