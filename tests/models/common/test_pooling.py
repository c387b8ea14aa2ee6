"""Mask pooling against a loop over queries and pixels."""

import torch

from ovseg.models.common.pooling import mask_pool


def test_the_mean_over_positive_pixels() -> None:
    features = torch.randn(2, 5, 4, 6)
    masks = torch.randn(2, 3, 4, 6)
    pooled = mask_pool(features, masks)
    assert pooled.shape == (2, 3, 5)
    for b in range(2):
        for q in range(3):
            inside = [
                features[b, :, y, x].double() for y in range(4) for x in range(6) if masks[b, q, y, x] > 0
            ]
            assert torch.allclose(pooled[b, q].double(), sum(inside) / len(inside), atol=1e-6)


def test_a_logit_of_exactly_zero_is_outside() -> None:
    features = torch.tensor([[[[3.0, 5.0]]]])
    masks = torch.tensor([[[[0.0, 1e-30]], [[-0.0, 7.0]], [[2.0, 2.0]]]])
    assert mask_pool(features, masks)[0, :, 0].tolist() == [5.0, 5.0, 4.0]


def test_an_empty_mask_gives_zeros() -> None:
    pooled = mask_pool(torch.randn(1, 5, 2, 2), torch.tensor([[[[0.0, -1.0], [-2.0, 0.0]]]]))
    assert torch.equal(pooled, torch.zeros(1, 1, 5))


def test_gradients_reach_the_features_and_not_the_masks() -> None:
    features = torch.randn(1, 2, 3, 3, requires_grad=True)
    masks = torch.randn(1, 4, 3, 3, requires_grad=True)
    mask_pool(features, masks).sum().backward()
    assert masks.grad is None
    inside = (masks > 0).double()[0]
    expected = (inside / inside.sum((1, 2), keepdim=True)).sum(0)
    assert torch.allclose(features.grad[0].double(), expected.expand(2, -1, -1), atol=1e-6)
