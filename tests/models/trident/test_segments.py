"""Regions as segments and instances."""

import torch
from torch import Tensor

from ovseg.models.trident.drawing import Drawn
from ovseg.models.trident.refinement import Labelled
from ovseg.models.trident.regions import NO_REGION, Regions
from ovseg.models.trident.segments import repeats, segments
from ovseg.types import NOTHING

CAT, GRASS, DOG = 0, 1, 2
THINGS = [True, False, True]


def drawn(labels: Tensor, owners: Tensor, places: Tensor, kept: list[bool], quality: list[float]) -> Drawn:
    """Regions 0, 1 are of cats, 2 of grass, 3 of a dog; places are at the size of the labels."""
    count = len(kept)
    masks = torch.eye(count, dtype=torch.bool)[:, None]
    regions = Regions(
        places=places.int(),
        labels=torch.tensor([CAT, CAT, GRASS, DOG])[:count],
        points=torch.zeros(count, 2, dtype=torch.int64),
        boxes=torch.zeros(count, 4, dtype=torch.int64),
        areas=torch.ones(count, dtype=torch.int64),
        probabilities={},
    )
    found = Labelled(labels.int(), torch.full(labels.shape, 0.5), owners.int())
    return Drawn(found, regions, torch.tensor(quality), torch.tensor(kept, dtype=torch.bool), masks)


def test_things_by_their_masks_stuff_by_its_class() -> None:
    labels = torch.tensor([[CAT, CAT, GRASS, DOG], [CAT, GRASS, DOG, NOTHING]])
    owners = torch.tensor([[0, 1, NO_REGION, NO_REGION], [NO_REGION, 2, NO_REGION, NO_REGION]])
    places = torch.tensor([[0, 1, 2, 3], [0, 2, NO_REGION, NO_REGION]])
    parts = segments(
        drawn(labels, owners, places, [True, True, True, False], [0.9, 1.5, 0.9, 0.6]), THINGS, overlap=0.7
    )
    shown = [(part.label, part.is_thing, part.area, round(part.score, 4)) for part in parts]
    # The cat's pixel outside its mask, and the dog's outside its region, are in none.
    assert shown == [(GRASS, False, 2, 0.5), (CAT, True, 1, 0.45), (CAT, True, 1, 0.5), (DOG, True, 1, 0.3)]


def test_a_dropped_region_that_lost_its_pixels_is_none() -> None:
    labels = torch.tensor([[CAT, CAT], [GRASS, GRASS]])
    owners = torch.tensor([[0, 0], [NO_REGION, NO_REGION]])
    places = torch.tensor([[0, 1], [1, 1]])
    parts = segments(drawn(labels, owners, places, [True, False], [0.9, 0.1]), THINGS, overlap=0.7)
    assert [(part.label, part.area) for part in parts] == [(GRASS, 2), (CAT, 2)]


def test_without_regions_only_stuff_is_left() -> None:
    labels = torch.tensor([[CAT, GRASS]])
    nowhere = torch.full((1, 2), NO_REGION)
    empty = drawn(labels, nowhere, nowhere, [], [])
    assert [(part.label, part.area) for part in segments(empty, THINGS, overlap=0.7)] == [(GRASS, 1)]


def test_repeated_masks_of_a_class_are_the_best_one() -> None:
    masks = torch.zeros(5, 4, 10, dtype=torch.bool)
    for index, columns in enumerate([(0, 8), (0, 9), (0, 9), (5, 10), (0, 8)]):
        masks[index, :, columns[0] : columns[1]] = True
    labels = torch.tensor([CAT, CAT, DOG, CAT, CAT])
    quality = torch.tensor([0.8, 0.9, 0.7, 0.95, 0.9])
    # 0 and 4 lie to eight ninths in 1, which comes before 4; 2 is a dog; 3 overlaps little.
    assert repeats(masks, labels, quality, overlap=0.7).tolist() == [1, 1, 2, 3, 1]
    assert repeats(masks, labels, quality, overlap=0.95).tolist() == [4, 1, 2, 3, 4]
    assert repeats(masks[:0], labels[:0], quality[:0], overlap=0.7).tolist() == []
