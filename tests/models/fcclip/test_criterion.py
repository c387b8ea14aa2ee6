"""The losses: formulas, pictures without or with too many targets, batches, processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.criterion_process import CRITERION, layers_of, losses_and_gradients, targets_of

from ovseg.models.fcclip.criterion import LayerOutput, dice_loss, mask_loss, mean_over_processes
from ovseg.types import Targets

HELPER = Path(__file__).parents[2] / "helpers" / "criterion_process.py"


def nothing(size: tuple[int, int] = (16, 24)) -> Targets:
    return Targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, *size, dtype=torch.bool))


def generators(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def test_mask_and_dice_loss_are_the_formulas() -> None:
    logits, targets = 2 * torch.randn(3, 20), torch.rand(3, 20)
    p = logits.sigmoid().double()
    t = targets.double()
    bce = -(t * p.log() + (1 - t) * (1 - p).log()).mean(1).sum()
    dice = sum(
        1 - (2 * float(a @ b) + 1) / (float(a.sum()) + float(b.sum()) + 1) for a, b in zip(p, t, strict=True)
    )
    assert float(mask_loss(logits, targets)) == pytest.approx(float(bce), rel=1e-5)
    assert float(dice_loss(logits, targets)) == pytest.approx(dice, rel=1e-5)


def test_perfect_proposals_cost_nothing() -> None:
    (target,) = targets_of(0)
    masks = torch.full((1, 5, 16, 24), -50.0)
    masks[0, [3, 1]] = torch.where(target.masks, 50.0, -50.0)
    classes = torch.zeros(1, 5, 4)
    classes[0, :, 3] = 50.0
    classes[0, [3, 1], 3] = 0.0
    classes[0, [3, 1], target.labels] = 50.0
    losses = CRITERION([LayerOutput(classes, masks)], [target])
    assert list(losses) == ["loss_ce", "loss_mask", "loss_dice"]
    assert losses["loss_ce"] < 1e-6
    worse = CRITERION([LayerOutput(classes, -masks)], [target])
    assert worse["loss_mask"] > 5 * losses["loss_mask"]  # not 0: points on a mask's edge are neither
    assert worse["loss_dice"] > 5 * losses["loss_dice"]


def test_class_loss_is_the_weighted_mean() -> None:
    """As torch takes it from the weights itself, over all proposals of the batch."""
    layers, targets = layers_of(0, 1), targets_of(0, 1)
    losses = CRITERION(layers[:1], targets)
    logits = layers[0].class_logits
    best = min(
        float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), expected, CLASS_WEIGHTS))
        for expected in expected_classes(targets)
    )
    assert float(losses["loss_ce"]) >= 2 * best - 1e-4  # the matching looks at masks too
    assert any(
        float(losses["loss_ce"])
        == pytest.approx(
            2 * float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), expected, CLASS_WEIGHTS))
        )
        for expected in expected_classes(targets)
    )


CLASS_WEIGHTS = torch.tensor([1.0, 1.0, 1.0, 0.1])


def expected_classes(targets: list[Targets]) -> list[torch.Tensor]:
    """The classes of all proposals for every possible matching of two targets and one."""
    ways = []
    for first in range(5):
        for second in set(range(5)) - {first}:
            for other in range(5):
                expected = torch.full((10,), 3)
                expected[[first, second]] = targets[0].labels
                expected[5 + other] = targets[1].labels[0]
                ways.append(expected)
    return ways


def test_a_picture_without_targets_trains_void_alone() -> None:
    layers = layers_of(0)
    for layer in layers:
        layer.class_logits.requires_grad_()
        layer.mask_logits.requires_grad_()
    losses = CRITERION(layers, [nothing()])
    assert losses["loss_mask"].item() == losses["loss_dice"].item() == 0.0
    void = -layers[0].class_logits.log_softmax(-1)[..., -1].mean()
    assert losses["loss_ce"].item() == pytest.approx(2 * void.item(), rel=1e-5)
    sum(losses.values()).backward()
    for layer in layers:
        assert layer.class_logits.grad.any()
        assert layer.mask_logits.grad is not None  # zero, not absent: other processes wait for it
        assert not layer.mask_logits.grad.any()


def test_a_picture_without_targets_beside_one_with() -> None:
    """As from pictures whose segments are all crowds."""
    losses = CRITERION(layers_of(0, 1), [targets_of(0)[0], nothing()], generators=generators(0, 1))
    alone = CRITERION(layers_of(0), targets_of(0), generators=generators(0))
    for key in ("loss_mask", "loss_dice_1"):
        assert float(losses[key]) == pytest.approx(float(alone[key]), rel=1e-5)


def test_an_empty_mask_is_a_target_like_others() -> None:
    target = Targets(torch.tensor([1]), torch.zeros(1, 16, 24, dtype=torch.bool))
    layers = layers_of(0)
    losses = CRITERION(layers[:1], [target])
    assert all(math.isfinite(loss) for loss in losses.values())
    empty = LayerOutput(layers[0].class_logits, torch.full_like(layers[0].mask_logits, -20.0))
    assert CRITERION([empty], [target])["loss_mask"] < 1e-3
    assert losses["loss_mask"] > 0.1


def test_more_targets_than_proposals() -> None:
    """As many as there are proposals are matched; the divisor counts all."""
    labels = torch.arange(8) % 3
    masks = torch.rand(8, 16, 24) > 0.5
    losses = CRITERION(layers_of(0), [Targets(labels, masks)])
    assert all(math.isfinite(loss) for loss in losses.values())
    values = torch.zeros(1, 5, 8, 12)
    unsure = CRITERION([LayerOutput(torch.zeros(1, 5, 4), values)], [Targets(labels, masks)])
    assert float(unsure["loss_mask"]) == pytest.approx(5 * 5 / 8 * math.log(2), rel=1e-5)


def test_layers_are_named_as_officially() -> None:
    losses = CRITERION(layers_of(0), targets_of(0))
    kinds = ("loss_ce", "loss_mask", "loss_dice")
    assert list(losses) == [kind + suffix for suffix in ("", "_0", "_1") for kind in kinds]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_compared_in_float32(dtype: torch.dtype) -> None:
    rounded = [
        LayerOutput(layer.class_logits.to(dtype), layer.mask_logits.to(dtype)) for layer in layers_of(0)
    ]
    exact = [LayerOutput(layer.class_logits.float(), layer.mask_logits.float()) for layer in rounded]
    found = CRITERION(rounded, targets_of(0), generators=generators(0))
    expected = CRITERION(exact, targets_of(0), generators=generators(0))
    for key, loss in found.items():
        assert loss.dtype == torch.float32
        assert float(loss) == float(expected[key])


def test_a_batch_is_its_pictures_together() -> None:
    """Mask losses add up by targets (2 and 1), class losses by weights (2 + 0.3 and 1 + 0.4)."""
    both, _ = losses_and_gradients(0, 1)
    first, second = (losses_and_gradients(number)[0] for number in (0, 1))
    for key, loss in both.items():
        shares = (2.3, 1.4) if "loss_ce" in key else (2.0, 1.0)
        mean = (shares[0] * first[key] + shares[1] * second[key]) / sum(shares)
        assert loss == pytest.approx(mean, rel=1e-5), key


def test_two_processes_train_as_one_does_with_both_pictures(tmp_path: Path) -> None:
    """Their means of losses and gradients are those of one process, though they count 2 targets and 1."""
    expected_losses, expected_gradient = losses_and_gradients(0, 1)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, HELPER, str(tmp_path), str(rank)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for key, loss in expected_losses.items():
        assert sum(part["losses"][key] for part in parts) / 2 == pytest.approx(loss, rel=1e-5), key
    gradients = torch.tensor([part["gradient"] for part in parts])
    assert torch.allclose(gradients.flatten() / 2, torch.tensor(expected_gradient), rtol=1e-4, atol=1e-7)


def test_one_process_is_its_own_mean() -> None:
    assert mean_over_processes(torch.tensor([3.0, 0.5])).tolist() == [3.0, 0.5]
