"""Toy pictures for the losses, and one of two processes that compute them together."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed

from ovseg.models.fcclip.criterion import Criterion, LayerOutput
from ovseg.models.fcclip.matcher import Weights
from ovseg.models.fcclip.point_sampling import PointPlan
from ovseg.types import Targets

CRITERION = Criterion(
    weights=Weights(class_=2.0, mask=5.0, dice=5.0), void_weight=0.1, plan=PointPlan(64, 3.0, 0.75)
)
LAYERS = 3


def layers_of(*pictures: int) -> list[LayerOutput]:
    """Five proposals of three classes for each picture, drawn from its number; three layers."""
    sources = [torch.Generator().manual_seed(number) for number in pictures]
    return [
        LayerOutput(
            torch.cat([torch.randn(1, 5, 4, generator=source) for source in sources]),
            torch.cat([2 * torch.randn(1, 5, 8, 12, generator=source) for source in sources]),
        )
        for _ in range(LAYERS)
    ]


def targets_of(*pictures: int) -> list[Targets]:
    """Picture 0 has two targets, picture 1 has one."""
    masks = torch.zeros(2, 16, 24, dtype=torch.bool)
    masks[0, 2:9, 3:15] = True
    masks[1, 8:, 10:] = True
    both = [Targets(torch.tensor([2, 0]), masks), Targets(torch.tensor([1]), masks[1:])]
    return [both[number] for number in pictures]


def losses_and_gradients(*pictures: int) -> tuple[dict[str, float], list[float]]:
    """Losses of the pictures, each with a generator of its own, and the gradient of the last mask logits."""
    layers = layers_of(*pictures)
    layers[0].mask_logits.requires_grad_()
    layers[0].class_logits.requires_grad_()
    generators = [torch.Generator().manual_seed(100 + number) for number in pictures]
    losses = CRITERION(layers, targets_of(*pictures), generators=generators)
    sum(losses.values()).backward()
    pairs = zip(layers[0].mask_logits.grad, layers[0].class_logits.grad, strict=True)
    gradient = torch.cat([part.flatten() for pair in pairs for part in pair])
    return {key: loss.item() for key, loss in losses.items()}, gradient.tolist()


def main() -> None:
    """Compute one picture of two; arguments are the folder to meet in and this process's number."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    losses, gradient = losses_and_gradients(rank)
    (folder / f"{rank}.json").write_text(json.dumps({"losses": losses, "gradient": gradient}))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
