"""Label maps of windows against plain slide inference: whole windows, whole pictures, every class."""

import pytest
import torch
import torch.nn.functional as F
from helpers.memory import peak_bytes

from ovseg.models.clip_dense import pixels
from ovseg.models.clip_dense.pixels import WindowGeometry, name_pixels
from ovseg.models.common.windows import windows

CLASS_OF_ROW = torch.tensor([0, 0, 1, 2, 2, 2, 3])


def geometry(network, picture, window=32, stride=16, patch=8) -> WindowGeometry:
    places = windows(network, window=window, stride=stride)
    sides = (places[0].bottom - places[0].top, places[0].right - places[0].left)
    padded = tuple(-(-side // patch) * patch for side in sides)
    return WindowGeometry(places=places, padded=padded, network=network, picture=picture)


def slide_inference(logits, given, scale):
    """As MMSegmentation does it, in float64."""
    total = torch.zeros(1, logits.shape[1], *given.network, dtype=torch.float64)
    count = torch.zeros(given.network)
    for window, place in zip(logits.double(), given.places, strict=True):
        whole = F.interpolate(window[None], size=given.padded, mode="bilinear", align_corners=False)
        rows, columns = slice(place.top, place.bottom), slice(place.left, place.right)
        total[..., rows, columns] += whole[..., : place.bottom - place.top, : place.right - place.left]
        count[rows, columns] += 1
    picture = F.interpolate(total / count, size=given.picture, mode="bilinear", align_corners=False)
    likely = (scale * picture[0]).softmax(0)
    classes = torch.stack([likely[label == CLASS_OF_ROW].amax(0) for label in range(4)])
    return classes.max(0)


@pytest.mark.parametrize(
    ("network", "picture"),
    [
        ((32, 32), (32, 32)),
        ((40, 72), (61, 110)),
        ((57, 43), (23, 17)),  # the last windows are moved back
        ((21, 70), (200, 667)),  # lower than a window, padded
        ((5, 64), (1, 13)),
        ((7, 3), (7, 3)),
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_it_is_slide_inference(network, picture, grid, monkeypatch):
    monkeypatch.setattr(pixels, "TILE_VALUES", 700)
    given = geometry(network, picture)
    logits = torch.randn(len(given.places), 7, *grid)
    found = name_pixels(logits, CLASS_OF_ROW, given, logit_scale=3.0)
    expected = slide_inference(logits, given, 3.0)
    assert found.labels.shape == found.probabilities.shape == picture
    assert torch.allclose(found.probabilities.double(), expected.values, atol=1e-5)
    assert (found.labels != expected.indices).double().mean() < 1e-3


def test_equal_logits_give_the_first_class():
    given = geometry((32, 32), (40, 40))
    found = name_pixels(torch.zeros(1, 7, 4, 4), CLASS_OF_ROW, given, logit_scale=40.0)
    assert not found.labels.any()
    assert torch.allclose(found.probabilities, torch.full((40, 40), 1 / 7))


def test_large_logits_do_not_overflow():
    given = geometry((32, 32), (32, 32))
    logits = torch.zeros(1, 7, 4, 4)
    logits[:, 3] = 1e4
    found = name_pixels(logits, CLASS_OF_ROW, given, logit_scale=100.0)
    assert (found.labels == 2).all()
    assert (found.probabilities == 1).all()


def test_memory_does_not_grow_with_classes_times_pixels():
    """1500 synonyms on 300 x 400 pixels would be 720 MB in float32."""
    given = geometry((96, 128), (300, 400))
    logits = torch.randn(len(given.places), 1500, 4, 4)
    classes = torch.arange(1500)
    peak = peak_bytes(lambda: name_pixels(logits, classes, given, logit_scale=40.0))
    assert peak < 60e6
