"""Class probabilities in strips against softmax over the whole picture."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg.models.common import pixels
from ovseg.models.common.pixels import PixelScores, score_pixels

CLASSES = torch.tensor([0, 0, 0, 1, 2, 2, 3])


def whole(logits: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """Probabilities of the classes at every pixel, straight from the definition."""
    likely = (scale * F.interpolate(logits[None], size=size, mode="bilinear")[0]).softmax(0)
    return torch.stack([likely[label == CLASSES].amax(0) for label in range(4)])


def scored(size: tuple[int, int], coarser: tuple[int, int] | None = None) -> tuple[PixelScores, Tensor]:
    logits = torch.rand(7, 5, 6)
    return score_pixels(logits, CLASSES, size, scale=10.0, coarser=coarser), whole(logits, size, 10.0)


@pytest.mark.parametrize("values", [1, 1 << 10, 1 << 21])
@pytest.mark.parametrize("size", [(40, 50), (41, 33), (1, 7), (3, 4), (5, 6)])
def test_best_class_and_any_class(
    size: tuple[int, int], values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "STRIP_VALUES", values)
    half = max(1, size[0] // 2), max(1, size[1] // 2)
    for coarser in (None, half):
        found, expected = scored(size, coarser)
        assert torch.allclose(found.probabilities, expected.amax(0), atol=1e-6)
        assert torch.equal(found.labels.long(), expected.argmax(0))
        for label in range(4):
            assert torch.allclose(found.of_class(label), expected[label], atol=1e-6)
        smaller = F.interpolate(expected[None], size=half, mode="bilinear")[0].amax(0)
        if coarser is not None:
            assert torch.allclose(found.coarser_best, smaller, atol=1e-6)


def test_large_scales_neither_overflow_nor_vanish() -> None:
    logits = torch.tensor([[[-1.0]], [[1.0]]])
    found = score_pixels(logits, torch.tensor([0, 1]), (2, 2), scale=200.0)
    assert found.labels.eq(1).all()
    assert torch.allclose(found.of_class(1), torch.ones(2, 2))
    assert found.of_class(0).eq(0).all()


def test_of_equal_classes_the_first_wins_and_the_logits_stay() -> None:
    logits = torch.zeros(3, 4, 4)
    found = score_pixels(logits, torch.tensor([0, 1, 2]), (4, 4), scale=40.0)
    assert found.labels.eq(0).all()
    assert torch.allclose(found.probabilities, torch.full((4, 4), 1 / 3))
    found.of_class(0)
    assert logits.eq(0).all()
