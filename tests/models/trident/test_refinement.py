"""Refinement against the official order of steps, written with all classes at full size."""

import pytest
import torch
import torch.nn.functional as F
from helpers.fake_sam import BoxDrawer
from torch import Tensor

from ovseg.models.trident import refinement
from ovseg.models.trident.refinement import ClassMask, class_masks, refine, unrefined
from ovseg.models.trident.regions import NO_REGION, split_regions
from ovseg.types import Features, MaskProposals

SIZE = (12, 16)


class Enlarger(BoxDrawer):
    """Enlarges the whole grid."""

    def enlarge(self, logits: Tensor, features: Features, size: tuple[int, int]) -> Tensor:
        return F.interpolate(logits[None], size=size, mode="bilinear")[0]


def setting() -> dict:
    likely = torch.rand(3, *SIZE).softmax(0)
    coarse = unrefined(likely.argmax(0).int(), likely.amax(0))
    masks = torch.randn(3, *SIZE) - 0.5
    owners = torch.arange(3, dtype=torch.int32)[:, None, None].expand(3, *SIZE)
    class_maps = [ClassMask(label, masks[label], owners[label]) for label in (0, 2)]
    return {"likely": likely, "coarse": coarse, "masks": masks, "class_maps": class_maps}


def test_the_class_of_the_highest_score_inside_masks_else_the_coarse_one() -> None:
    given = setting()
    likely, masks, coarse = given["likely"], given["masks"], given["coarse"]
    found = refine(coarse, given["class_maps"], likely.__getitem__)
    scores = likely * masks.sigmoid() * (masks > 0)
    scores[1] = 0
    masked = scores.sum(0) > 0
    assert 0.2 < masked.float().mean() < 0.9
    labels = torch.where(masked, scores.argmax(0).int(), coarse.labels)
    assert torch.equal(found.labels, labels)
    assert torch.equal(found.probabilities, likely.gather(0, labels[None].long())[0])
    assert torch.equal(found.owners, torch.where(masked, scores.argmax(0).int(), NO_REGION))


def test_dropped_regions_win_back_only_where_they_may_and_are_surer() -> None:
    given = setting()
    coarse, likely = given["coarse"], given["likely"]
    plain = refine(coarse, given["class_maps"], likely.__getitem__)
    failed = torch.rand(SIZE) > 0.5
    found = refine(coarse, given["class_maps"], likely.__getitem__, failed=failed)
    scores = (likely * given["masks"].sigmoid() * (given["masks"] > 0))[[0, 2]].amax(0)
    back = failed & (coarse.probabilities > scores)
    assert back.any()
    assert torch.equal(found.labels, torch.where(back, coarse.labels, plain.labels))
    assert found.owners[back].eq(NO_REGION).all()


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("seen", [SIZE, (16, 16)])
def test_masks_of_a_class_are_joined_by_their_highest_logit(
    seen: tuple[int, int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinement, "MASKS_AT_ONCE", at_once)
    labels = torch.tensor([[0, 9, 0, 9, 0], [9] * 5, [1, 9, 1, 9, 9]], dtype=torch.int32)
    labels = torch.where(labels == 9, -1, labels)
    regions = split_regions(labels, lambda _: torch.ones(3, 5), minimal_area=0, least_probability=0.0)
    assert regions.labels.tolist() == [0, 0, 0, 1, 1]
    proposals = MaskProposals(logits=torch.randn(1, 5, 6, 6))
    features = Features(pyramid={}, dense=torch.zeros(1, 1, 1, 1), image_size=(6, 6))
    kept = torch.tensor([True, False, True, False, False])
    (only,) = class_masks(Enlarger(), features, proposals, regions, kept, seen=seen, picture=SIZE)
    large = F.interpolate(proposals.logits, size=seen, mode="bilinear")
    large = F.interpolate(large, size=SIZE, mode="bilinear")[0, [0, 2]]
    assert only.label == 0
    assert torch.allclose(only.logits, large.amax(0), atol=1e-6)
    assert torch.equal(only.owners.long(), 2 * large.argmax(0))
