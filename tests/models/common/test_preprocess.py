"""Network inputs: sizes, resizing, normalisation and padding, each by its own arithmetic."""

import math

import numpy as np
import PIL.Image
import pytest
import torch
from golden.scene import scene

from ovseg.models.common.preprocess import normalise_and_pad, resize_short_side
from ovseg.types import BackboneSpec

SPEC = BackboneSpec(
    channels={4: 1}, dense_channels=1, embed_dim=1, pixel_mean=(10.0, 20.0, 30.0), pixel_std=(2.0, 4.0, 5.0)
)


def expected_size(height: int, width: int, short: int, long: int) -> tuple[int, int]:
    """Detectron2's rule: the short side to `short`, then both down until the long side is at most `long`."""
    if height < width:
        h, w = float(short), short / height * width
    else:
        h, w = short / width * height, float(short)
    if max(h, w) > long:
        h, w = h * long / max(h, w), w * long / max(h, w)
    return math.floor(h + 0.5), math.floor(w + 0.5)


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 480), (500, 500), (333, 500), (200, 1000), (100, 101), (37, 41), (601, 17)]
)
@pytest.mark.parametrize(("short", "long"), [(80, 133), (64, 64), (100, 1000)])
def test_sizes(size: tuple[int, int], short: int, long: int) -> None:
    resized = resize_short_side(np.zeros((*size, 3), np.uint8), short, long)
    assert resized.shape == (*expected_size(*size, short, long), 3)


def test_the_sizes_of_the_official_settings() -> None:
    for size, expected in (
        ((480, 640), (800, 1067)),
        ((640, 427), (1199, 800)),
        ((300, 1500), (267, 1333)),
        ((512, 683), (800, 1067)),
    ):
        picture = np.zeros((*size, 3), np.uint8)
        assert resize_short_side(picture, 800, 1333).shape[:2] == expected


def test_extreme_pictures_keep_a_pixel_per_side() -> None:
    assert resize_short_side(np.zeros((1, 5000, 3), np.uint8), 800, 1333).shape == (1, 1333, 3)
    assert resize_short_side(np.zeros((1, 1, 3), np.uint8), 32, 64).shape == (32, 32, 3)


def test_resizing_is_pillows_bilinear_on_bytes() -> None:
    picture = scene(60, 90, 5)
    expected = PIL.Image.fromarray(picture).resize((48, 32), PIL.Image.Resampling.BILINEAR)
    resized = resize_short_side(picture, 32, 1000)
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, np.asarray(expected))


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = scene(32, 48, 1)
    assert resize_short_side(picture, 32, 1000) is picture


@pytest.mark.parametrize("layout", ["strided", "read-only", "mirrored"])
def test_any_memory_layout(layout: str) -> None:
    whole = scene(80, 120, 2)
    picture = {"strided": whole[::2, ::2], "read-only": whole[:40, :60], "mirrored": whole[:40, 59::-1]}[
        layout
    ]
    picture.flags.writeable = False
    resized = resize_short_side(picture, 20, 100)
    assert np.array_equal(resized, resize_short_side(picture.copy(), 20, 100))


@pytest.mark.parametrize("size", [(5, 9), (32, 64), (33, 1), (1, 1)])
def test_normalise_and_pad(size: tuple[int, int]) -> None:
    height, width = size
    images = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    x = normalise_and_pad(images, SPEC, 32)
    assert x.dtype == torch.float32
    assert x.shape == (2, 3, -(-height // 32) * 32, -(-width // 32) * 32)
    for channel, (mean, std) in enumerate(zip(SPEC.pixel_mean, SPEC.pixel_std, strict=True)):
        expected = (images[..., channel].double() - mean) / std
        assert torch.allclose(x[:, channel, :height, :width].double(), expected, atol=1e-5)
    assert not x[:, :, height:].any()
    assert not x[:, :, :, width:].any()
