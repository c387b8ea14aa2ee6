"""The losses of FC-CLIP: classes, masks and dice of every decoder layer, after a matching of its own.

Source: Mask2Former (arXiv 2112.01527), section 3.3; official `criterion.py`. Differs from the official code
in one thing: with several processes the class loss too is divided by what all of them counted, not only the
mask losses, so that any split of the pictures over processes trains the same.

Letters: b pictures, q proposals, k classes with void last, n targets of all pictures, m matched pairs, p
points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovseg.models.fcclip.matcher import Weights, assign, match_costs
from ovseg.models.fcclip.point_sampling import (
    Generators,
    LayerPoints,
    PointPlan,
    draw_points,
    loss_points,
    sample_all,
    sample_each,
)
from ovseg.types import Targets


@dataclass(frozen=True)
class LayerOutput:
    """One decoder layer's word on a batch, in any number format."""

    class_logits: Float[Tensor, "b q k"]
    mask_logits: Float[Tensor, "b q h w"]


@dataclass(frozen=True)
class Pairs:
    """The matched pairs of one layer: picture after picture, proposals ascending.

    Attributes:
        pictures, proposals: which proposal.
        targets: which target, counted through all pictures.
    """

    pictures: Int[Tensor, " m"]
    proposals: Int[Tensor, " m"]
    targets: Int[Tensor, " m"]


@dataclass(frozen=True)
class Shares:
    """What sums are divided by: means over processes of masks (at least 1) and of weighted proposals."""

    masks: Float[Tensor, ""]
    classes: Float[Tensor, ""]


@dataclass(frozen=True)
class _Truth:
    """The targets of all pictures in one row; `counts` is of each picture."""

    labels: Int[Tensor, " n"]
    masks: Float[Tensor, "n h w"]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Criterion:
    """Layers and targets to losses.

    Attributes:
        weights: of the losses and of the matcher's costs.
        void_weight: of a proposal without target in the class loss; the others count 1.
        plan: of the points.
    """

    weights: Weights
    void_weight: float
    plan: PointPlan

    def __call__(
        self, layers: Sequence[LayerOutput], targets: Sequence[Targets], *, generators: Generators = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted losses by their official names: those of the last layer have no suffix.

        Args:
            layers: the last first, then the earlier ones in their order, which is that of the random numbers.
            targets: per picture; masks of one size that covers the network's input.
            generators: of the random points.
        """
        truth = _joined(targets)
        logits = layers[0].mask_logits
        proposals = logits.shape[1]
        matched = [min(count, proposals) for count in truth.counts]
        drawn = [draw_points(self.plan, matched, generators=generators, device=logits.device) for _ in layers]
        shares = self._shares(truth, matched, proposals)
        pairs = self._match(layers, truth, drawn)
        suffixes = ["", *(f"_{index}" for index in range(len(layers) - 1))]
        return {
            name + suffix: loss
            for suffix, layer, found, points in zip(suffixes, layers, pairs, drawn, strict=True)
            for name, loss in self._losses(layer, found, points, truth, shares).items()
        }

    def _shares(self, truth: _Truth, matched: Sequence[int], proposals: int) -> Shares:
        assigned = sum(matched)
        weighted = assigned + self.void_weight * (proposals * len(matched) - assigned)
        mine = torch.tensor([float(sum(truth.counts)), weighted], device=truth.masks.device)
        masks, classes = mean_over_processes(mine)
        return Shares(masks=masks.clamp(min=1.0), classes=classes)

    @torch.no_grad()
    def _match(
        self, layers: Sequence[LayerOutput], truth: _Truth, drawn: Sequence[LayerPoints]
    ) -> list[Pairs]:
        """Per layer; all costs first, so that the device is waited for once."""
        pictures = list(zip(truth.labels.split(truth.counts), truth.masks.split(truth.counts), strict=True))
        costs = [
            match_costs(
                layer.class_logits[index].float(),
                sample_all(layer.mask_logits[index].float(), points.matching[index]),
                labels,
                sample_all(masks, points.matching[index]),
                self.weights,
            )
            for layer, points in zip(layers, drawn, strict=True)
            for index, (labels, masks) in enumerate(pictures)
        ]
        found = assign(costs)
        step = len(pictures)
        return [
            _joined_pairs(found[start : start + step], truth) for start in range(0, step * len(layers), step)
        ]

    def _losses(
        self, layer: LayerOutput, pairs: Pairs, drawn: LayerPoints, truth: _Truth, shares: Shares
    ) -> dict[str, Float[Tensor, ""]]:
        class_loss = self._class_loss(layer.class_logits.float(), pairs, truth) / shares.classes
        logits = layer.mask_logits[pairs.pictures, pairs.proposals].float()
        points = loss_points(logits, drawn, self.plan)
        values = sample_each(logits, points)
        expected = _sampled_targets(truth, pairs, points)
        return {
            "loss_ce": self.weights.class_ * class_loss,
            "loss_mask": self.weights.mask * mask_loss(values, expected) / shares.masks,
            "loss_dice": self.weights.dice * dice_loss(values, expected) / shares.masks,
        }

    def _class_loss(
        self, class_logits: Float[Tensor, "b q k"], pairs: Pairs, truth: _Truth
    ) -> Float[Tensor, ""]:
        """Weighted cross-entropies, summed."""
        void = class_logits.shape[-1] - 1
        expected = pairs.proposals.new_full(class_logits.shape[:2], void)
        expected[pairs.pictures, pairs.proposals] = truth.labels[pairs.targets]
        weight = class_logits.new_ones(void + 1)
        weight[-1] = self.void_weight
        return F.cross_entropy(class_logits.flatten(0, 1), expected.flatten(), weight, reduction="sum")


def mask_loss(logits: Float[Tensor, "m p"], targets: Float[Tensor, "m p"]) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over points, summed over masks."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1).sum()


def dice_loss(logits: Float[Tensor, "m p"], targets: Float[Tensor, "m p"]) -> Float[Tensor, ""]:
    """1 - (2 overlap + 1) / (both areas + 1) of the probabilities, summed over masks."""
    inside = logits.sigmoid()
    overlap = 2 * (inside * targets).sum(1) + 1
    return (1 - overlap / (inside.sum(1) + targets.sum(1) + 1)).sum()


def mean_over_processes(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The values themselves where there is one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


def _joined(targets: Sequence[Targets]) -> _Truth:
    return _Truth(
        labels=torch.cat([target.labels for target in targets]).long(),
        masks=torch.cat([target.masks for target in targets]).float(),
        counts=tuple(len(target.labels) for target in targets),
    )


def _joined_pairs(found: Sequence[tuple[Int[Tensor, " _"], Int[Tensor, " _"]]], truth: _Truth) -> Pairs:
    """The pairs of each picture in one row, on the targets' device."""
    starts = [sum(truth.counts[:index]) for index in range(len(found))]
    rows = [
        torch.stack([torch.full_like(proposals, index), proposals, targets + start])
        for index, ((proposals, targets), start) in enumerate(zip(found, starts, strict=True))
    ]
    return Pairs(*torch.cat(rows, 1).to(truth.labels.device))


def _sampled_targets(truth: _Truth, pairs: Pairs, points: Float[Tensor, "m p 2"]) -> Float[Tensor, "m p"]:
    """The matched targets' masks at their points, 0..1, without a copy of the masks in the pairs' order."""
    places = points.new_zeros(len(truth.masks), *points.shape[1:])
    places[pairs.targets] = points
    return sample_each(truth.masks, places)[pairs.targets]
