"""Pictures in and masks out against the package's predictor."""

import numpy as np
import pytest
import torch
from golden.scene import scene
from helpers.memory import peak_bytes
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from ovseg.models.sam.architecture import SamSize, build_parts
from ovseg.models.sam.picture import enlarge_masks, input_size, network_input

SIZE = SamSize(
    embed_dim=16,
    depth=1,
    num_heads=2,
    global_attn=(0,),
    prompt_dim=32,
    dec_mlp=24,
    dec_heads=4,
    image_size=160,
)
SIZES = [(1, 1), (3, 5), (160, 160), (120, 160), (97, 61), (10, 100), (210, 21), (333, 500)]


@pytest.fixture(scope="module")
def package() -> Sam:
    return Sam(*build_parts(SIZE)).eval()


@pytest.mark.parametrize("size", SIZES)
def test_network_input_is_that_of_the_predictor(package: Sam, size: tuple[int, int]) -> None:
    image = scene(max(size[0], 64), max(size[1], 64), 5)[: size[0], : size[1]]
    seen = {}
    hook = package.image_encoder.register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    predictor = SamPredictor(package)
    predictor.set_image(image)
    hook.remove()
    assert input_size(size, 160) == predictor.input_size
    ours = network_input(image, 160, torch.device("cpu"))
    assert (ours - seen["x"]).abs().max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_masks_come_back_as_in_the_package(package: Sam, size: tuple[int, int]) -> None:
    logits = torch.randn(11, 40, 40)  # more than are enlarged together
    shown = input_size(size, 160)
    expected = package.postprocess_masks(logits[:, None], shown, size)[:, 0]
    assert (enlarge_masks(logits, 160, shown, size) - expected).abs().max() < 1e-5


def test_no_masks() -> None:
    assert enlarge_masks(torch.zeros(0, 40, 40), 160, (160, 120), (8, 6)).shape == (0, 8, 6)


def test_a_side_that_would_vanish_keeps_a_pixel() -> None:
    assert input_size((1, 5000), 1024) == (1, 1024)
    assert network_input(np.zeros((1, 5000, 3), np.uint8), 64, torch.device("cpu")).shape == (1, 3, 64, 64)


def test_memory_of_many_masks() -> None:
    logits = torch.randn(64, 64, 64)
    peak = peak_bytes(lambda: enlarge_masks(logits, 1024, (1024, 1024), (16, 16)))
    assert peak < 3 * 8 * 1024 * 1024 * 4
