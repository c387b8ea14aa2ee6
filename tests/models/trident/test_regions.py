"""Regions against a flood fill."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ovseg.models.trident.regions import NO_REGION, split_regions
from ovseg.types import NOTHING


def flooded(labels: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """(class, pixels) of every 8-connected region, by class, those of a class by their first pixel."""
    seen = np.zeros(labels.shape, bool)
    found = []
    for start in zip(*np.nonzero(labels != NOTHING), strict=True):
        if seen[start]:
            continue
        seen[start], stack, pixels = True, [start], []
        while stack:
            y, x = stack.pop()
            pixels.append((int(y), int(x)))
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= near[0] < labels.shape[0] and 0 <= near[1] < labels.shape[1]
                if inside and not seen[near] and labels[near] == labels[start]:
                    seen[near] = True
                    stack.append(near)
        found.append((int(labels[start]), pixels))
    return sorted(found, key=lambda region: region[0])


def random_labels() -> Tensor:
    """Blobs of four classes and of nothing."""
    noise = torch.rand(1, 5, 9, 11)
    blobs = torch.nn.functional.interpolate(noise, size=(40, 50), mode="bilinear")[0]
    return (blobs.argmax(0) - 1).int()


@pytest.mark.parametrize("least", [0, 20])
def test_regions_are_those_of_a_flood_fill(least: int) -> None:
    labels, likely = random_labels(), torch.rand(4, 40, 50)
    regions = split_regions(labels, likely.__getitem__, minimal_area=least, least_probability=0.0)
    expected = [region for region in flooded(labels.numpy()) if len(region[1]) >= least]
    assert len(regions) == len(expected) > 4
    assert regions.labels.tolist() == [label for label, _ in expected]
    assert regions.areas.tolist() == [len(pixels) for _, pixels in expected]
    places = torch.full((40, 50), NO_REGION)
    for index, (label, pixels) in enumerate(expected):
        rows, columns = zip(*pixels, strict=True)
        places[rows, columns] = index
        best = max(sorted(pixels), key=lambda pixel: float(likely[label][pixel]))
        assert regions.points[index].tolist() == [best[1], best[0]]
        box = [min(columns), min(rows), max(columns), max(rows)]
        assert regions.boxes[index].tolist() == box
    assert torch.equal(regions.places.long(), places)
    assert set(regions.probabilities) == {label for label, _ in expected}


def test_of_equal_probabilities_the_first_pixel_prompts() -> None:
    labels = torch.tensor([[NOTHING, 2], [2, 2]], dtype=torch.int32)
    regions = split_regions(labels, lambda _: torch.ones(2, 2), minimal_area=0, least_probability=0.5)
    assert regions.points.tolist() == [[1, 0]]


def test_classes_that_are_nowhere_likely_have_no_regions() -> None:
    labels = torch.tensor([[0, 1]], dtype=torch.int32)
    likely = torch.tensor([[0.3, 0.1], [0.1, 0.4]])
    regions = split_regions(labels, lambda label: likely[label][None], minimal_area=0, least_probability=0.35)
    assert regions.labels.tolist() == [1]
    assert regions.places.tolist() == [[NO_REGION, 0]]


def test_no_regions_at_all() -> None:
    labels = torch.full((3, 4), NOTHING, dtype=torch.int32)
    regions = split_regions(labels, lambda _: torch.ones(3, 4), minimal_area=0, least_probability=0.0)
    assert len(regions) == 0
    assert regions.points.shape == (0, 2)
    assert regions.boxes.shape == (0, 4)
    assert regions.places.eq(NO_REGION).all()
