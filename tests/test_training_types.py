"""Targets and batches: what fits together, and that it stays together on the way to a device."""

import pytest
import torch

from ovseg.types import Targets, TrainingBatch

IMAGES = torch.zeros(2, 4, 6, 3, dtype=torch.uint8)


def targets(count: int, height: int = 4, width: int = 6) -> Targets:
    return Targets(torch.arange(count), torch.ones(count, height, width, dtype=torch.bool))


@pytest.mark.parametrize("wrong", [(targets(1),), (targets(1), targets(0, width=5))])
def test_pictures_and_targets_go_in_pairs_of_one_size(wrong: tuple[Targets, ...]) -> None:
    with pytest.raises(ValueError, match=r"TrainingBatch: 2 pictures of \(4, 6\), masks of"):
        TrainingBatch(IMAGES, wrong)


def test_a_batch_moves_as_one() -> None:
    batch = TrainingBatch(IMAGES, (targets(2), targets(0)))
    moved = batch.to(torch.device("meta"), non_blocking=True)
    assert moved.images.is_meta
    assert all(one.labels.is_meta and one.masks.is_meta for one in moved.targets)
    assert [tuple(one.masks.shape) for one in moved.targets] == [(2, 4, 6), (0, 4, 6)]
