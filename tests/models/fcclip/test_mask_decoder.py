"""The mask decoder's masks: where queries may look, and what their logits are."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg.models.fcclip.mask_decoder import MaskDecoder
from ovseg.models.fcclip.pixel_decoder import DecodedPixels

SIZES = ((2, 3), (4, 6), (8, 12))


def decoder(layers: int = 4) -> MaskDecoder:
    return MaskDecoder(dim=8, queries=5, heads=2, layers=layers, ffn=16).eval()


def pixels(batch: int = 2) -> DecodedPixels:
    levels = tuple(torch.randn(batch, 8, *size) for size in SIZES)
    return DecodedPixels(mask_features=torch.randn(batch, 8, 16, 24), levels=levels)


def given_masks(made: MaskDecoder, logits: Tensor) -> DecodedPixels:
    """Make (16, 24) `logits` every query's mask before every layer, and pixels to go with them."""
    last = made.mask_embed.layers[-1]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.eye(8)[0])
    given = pixels()
    given.mask_features[:, 0] = logits
    return given


def seen_masks(made: MaskDecoder, given: DecodedPixels) -> list[Tensor]:
    """The `blocked` that each layer is called with."""
    masks: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, arguments: masks.append(arguments[4]))
        for layer in made.layers
    ]
    with torch.no_grad():
        made(given, keep_earlier=False)
    for hook in hooks:
        hook.remove()
    return masks


def test_levels_take_turns() -> None:
    masks = seen_masks(decoder(), pixels())
    assert [mask.shape[-1] for mask in masks] == [6, 24, 96, 6]


LEFT = torch.arange(24).expand(16, -1) < 12
"""The left half of the masks, and of the (4, 6) level that the second layer looks at."""


@pytest.mark.parametrize("value", [0.0, -1e-9, 1e-9, 2.0])
def test_a_logit_of_zero_is_not_blocked(value: float) -> None:
    """Nor is one so little below that its sigmoid rounds to a half, in float32 as in the official code."""
    made = decoder()
    second = seen_masks(made, given_masks(made, torch.where(LEFT, value, -10.0)))[1].unflatten(-1, (4, 6))
    assert not second[..., :3].any()
    assert second[..., 3:].all()


def test_a_query_that_is_off_everywhere_looks_everywhere() -> None:
    made = decoder()
    masks = seen_masks(made, given_masks(made, torch.full((16, 24), -5.0)))
    assert len(masks) == 4
    assert not any(mask.any() for mask in masks)


def test_blocking_is_that_of_resized_masks() -> None:
    """As the official code does it: the masks are resized to the level, not the features."""
    made, given = decoder(), pixels()
    with torch.no_grad():
        earlier = made(given, keep_earlier=True).earlier
    for turn, mask in enumerate(seen_masks(made, given)):
        size = SIZES[turn % 3]
        logits = F.interpolate(earlier[turn].logits.double(), size=size, mode="bilinear", align_corners=False)
        expected = (logits.sigmoid() < 0.5).flatten(2)
        for b in range(2):
            for q in range(5):
                row = expected[b, q]
                assert torch.equal(mask[b, q], torch.zeros_like(row) if row.all() else row)


@pytest.mark.parametrize("grad", [True, False])
def test_logits_are_dot_products_with_the_mask_features(grad: bool) -> None:
    made, given = decoder(), pixels()
    with torch.set_grad_enabled(grad):
        proposals = made(given, keep_earlier=False)
        embeddings = made.mask_embed(proposals.queries)
    expected = torch.einsum("bqc,bchw->bqhw", embeddings.double(), given.mask_features.double())
    assert proposals.logits.shape == (2, 5, 16, 24)
    assert torch.allclose(proposals.logits.double(), expected, atol=1e-5)
    assert proposals.earlier == ()
    assert torch.equal(proposals.pixel_features, given.mask_features)


def test_earlier_proposals_change_nothing_and_reach_back_to_the_first_queries() -> None:
    made, given = decoder(), pixels()
    with torch.no_grad():
        plain, kept = made(given, keep_earlier=False), made(given, keep_earlier=True)
    assert torch.equal(plain.logits, kept.logits)
    assert len(kept.earlier) == 4
    first = made.norm(made.query_feat.weight)
    assert torch.allclose(kept.earlier[0].queries, first.expand(2, -1, -1), atol=1e-6)
