"""Which proposal is to become which target: the cheapest assignment of a picture.

Source: DETR (arXiv 2005.12872), section 3.1, with the mask costs of Mask2Former; official `matcher.py`.

Letters: q proposals, n targets, k classes with void last, p points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

HOPELESS = 1e6
"""Cost of a pair whose cost is no number: the matching goes on, and the loss shows that something broke."""


@dataclass(frozen=True)
class Weights:
    """What the three kinds of cost, or of loss, count."""

    class_: float
    mask: float
    dice: float


def match_costs(
    class_logits: Float[Tensor, "q k"],
    mask_values: Float[Tensor, "q p"],
    labels: Int[Tensor, " n"],
    target_values: Float[Tensor, "n p"],
    weights: Weights,
) -> Float[Tensor, "q n"]:
    """What it would cost to make each proposal each target.

    Args:
        class_logits: of the proposals.
        mask_values: their mask logits at the picture's points.
        labels: classes of the targets.
        target_values: their masks at the same points, 0..1.
        weights: of the costs; the class's is minus the probability, void included in the softmax.
    """
    class_cost = -class_logits.softmax(-1)[:, labels]
    # bce(x, 1) t + bce(x, 0) (1 - t) = bce(x, 0) - x t, which needs one product in place of two.
    products = mask_values @ target_values.T
    mask_cost = (F.softplus(mask_values).sum(-1, keepdim=True) - products) / mask_values.shape[-1]
    inside = mask_values.sigmoid()
    overlap = inside @ target_values.T
    dice_cost = 1 - (2 * overlap + 1) / (inside.sum(-1)[:, None] + target_values.sum(-1) + 1)
    cost = weights.mask * mask_cost + weights.class_ * class_cost + weights.dice * dice_cost
    return cost.nan_to_num(HOPELESS, HOPELESS, HOPELESS)


def assign(costs: Sequence[Float[Tensor, "q _"]]) -> list[tuple[Int[Tensor, " m"], Int[Tensor, " m"]]]:
    """The cheapest assignments, each target to one proposal and no proposal to two targets.

    Of more targets than proposals, those that fit best are assigned and the others to nobody. All costs go
    to the CPU in one piece, because every transfer waits for the device.

    Args:
        costs: per problem, (proposals, targets).

    Returns:
        Per problem, on the CPU, the proposals in ascending order and their targets.
    """
    if not costs:
        return []
    flat = torch.cat([cost.flatten() for cost in costs]).cpu()
    matrices = [
        part.view(cost.shape)
        for part, cost in zip(flat.split([cost.numel() for cost in costs]), costs, strict=True)
    ]
    solved = (linear_sum_assignment(matrix.numpy()) for matrix in matrices)
    return [(torch.from_numpy(proposals), torch.from_numpy(targets)) for proposals, targets in solved]
