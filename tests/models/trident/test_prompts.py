"""Prompts of regions, by hand."""

import pytest
import torch
import torch.nn.functional as F
from helpers.fake_sam import BoxDrawer

from ovseg.models.trident.prompts import input_size, mask_prompt, region_prompts
from ovseg.models.trident.regions import split_regions


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((224, 312), 1024, (735, 1024)),
        ((187, 250), 1024, (766, 1024)),
        ((375, 500), 256, (192, 256)),
        ((1, 1), 1024, (1024, 1024)),
        ((1, 5000), 256, (1, 256)),  # the official code makes this 0
    ],
)
def test_input_size(size: tuple[int, int], long_side: int, expected: tuple[int, int]) -> None:
    assert input_size(size, long_side) == expected


def test_mask_prompts_are_faint_and_padded() -> None:
    likely = torch.rand(10, 20)
    prompt = mask_prompt(likely, (128, 256), side=256, threshold=0.4, scale=0.005)
    large = F.interpolate(likely[None, None], size=(128, 256), mode="bilinear")[0, 0]
    assert prompt.shape == (256, 256)
    assert torch.allclose(prompt[:128], large * (large > 0.4) * 0.005)
    assert prompt[128:].eq(0).all()
    assert 0 < prompt.max() <= 0.005


def test_points_and_boxes_are_in_pixels_of_the_input_and_masks_are_of_the_class() -> None:
    labels = torch.full((50, 100), -1, dtype=torch.int32)
    labels[10:20, 30:40], labels[30:40, 0:10], labels[45:50, 90:100] = 1, 1, 2
    likely = torch.rand(3, 50, 100)
    regions = split_regions(labels, likely.__getitem__, minimal_area=0, least_probability=0.0)
    prompts = region_prompts(regions, (100, 200), BoxDrawer(), coarse_threshold=0.5, mask_prompt_scale=0.01)
    assert torch.allclose(prompts.points, regions.points * 10.24)
    assert torch.allclose(prompts.boxes[0], torch.tensor([30.0, 10.0, 39.0, 19.0]) * 10.24)
    assert torch.equal(prompts.masks[0], prompts.masks[1])
    expected = mask_prompt(likely[2], (128, 256), side=256, threshold=0.5, scale=0.01)
    assert torch.equal(prompts.masks[2], expected)


def test_prompts_follow_the_size_of_the_generators_input() -> None:
    labels = torch.zeros(50, 100, dtype=torch.int32)
    likely = torch.rand(1, 50, 100)
    regions = split_regions(labels, likely.__getitem__, minimal_area=0, least_probability=0.0)
    small = BoxDrawer()
    small.input_side, small.mask_prompt_side = 512, 128
    prompts = region_prompts(regions, (100, 200), small, coarse_threshold=0.5, mask_prompt_scale=0.01)
    assert torch.allclose(prompts.boxes, torch.tensor([[0.0, 0.0, 99.0, 49.0]]) * 5.12)
    assert prompts.masks.shape == (1, 128, 128)
