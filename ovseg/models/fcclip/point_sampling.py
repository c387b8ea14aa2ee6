"""Points at which masks are compared in training, in place of all pixels.

Source: PointRend (arXiv 1912.08193), section 3.1 on training, and Mask2Former (arXiv 2112.01527), section
3.3; official `point_features.py` of Detectron2 and `criterion.py`. The random numbers are drawn with the
official calls in the official order, so that one seed gives the official points.

Points are (x, y) in 0..1 of the picture. Letters: n masks, p points, h w a grid of mask logits or pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None
"""Where random points come from: one generator, one per picture, or torch's own of the device."""


@dataclass(frozen=True)
class PointPlan:
    """How many points a mask is compared at, and how they are chosen.

    Attributes:
        points: per mask, in the matcher (uniform) and in the loss.
        oversampling: in the loss, candidates per point.
        uncertain_share: part of the points that are the most uncertain candidates, 0..1; the rest is
            uniform.
    """

    points: int
    oversampling: float
    uncertain_share: float

    @property
    def candidates(self) -> int:
        """Uniform points among which the uncertain ones are looked for."""
        return int(self.points * self.oversampling)

    @property
    def uncertain(self) -> int:
        """Points of the loss that are chosen among the candidates."""
        return int(self.uncertain_share * self.points)


@dataclass(frozen=True)
class LayerPoints:
    """Uniform points for one layer's predictions.

    Attributes:
        matching: per picture, shared by all its masks.
        candidates, rest: per matched mask, picture after picture: to choose the uncertain ones among, and to
            take as they are.
    """

    matching: Float[Tensor, "b p 2"]
    candidates: Float[Tensor, "n c 2"]
    rest: Float[Tensor, "n r 2"]


def draw_points(
    plan: PointPlan, masks: Sequence[int], *, generators: Generators, device: torch.device
) -> LayerPoints:
    """Draw for one layer, in the official order: picture after picture for the matcher, then for the loss.

    Args:
        plan: how many.
        masks: matched masks of each picture.
        generators: of one per picture, each gives its picture what it would give the picture alone.
        device: where the points are wanted.
    """
    matching = torch.cat([_uniform(1, plan.points, g, device) for g in _each(generators, len(masks))])
    return LayerPoints(
        matching=matching,
        candidates=_per_mask(masks, plan.candidates, generators, device),
        rest=_per_mask(masks, plan.points - plan.uncertain, generators, device),
    )


def _each(generators: Generators, pictures: int) -> Sequence[torch.Generator | None]:
    """The generator of each picture."""
    if generators is None or isinstance(generators, torch.Generator):
        return [generators] * pictures
    return generators


def _per_mask(
    masks: Sequence[int], points: int, generators: Generators, device: torch.device
) -> Float[Tensor, "n p 2"]:
    """Points for every mask; one generator gives them all at once, as the official code draws them."""
    if generators is None or isinstance(generators, torch.Generator):
        return _uniform(sum(masks), points, generators, device)
    return torch.cat([_uniform(n, points, g, device) for n, g in zip(masks, generators, strict=True)])


def _uniform(
    masks: int, points: int, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "n p 2"]:
    source = device if generator is None else generator.device
    return torch.rand(masks, points, 2, generator=generator, device=source).to(device)


@torch.no_grad()
def loss_points(
    logits: Float[Tensor, "n h w"], drawn: LayerPoints, plan: PointPlan
) -> Float[Tensor, "n p 2"]:
    """The points of the loss: the candidates whose logits are nearest to 0, nearest first, then the rest."""
    uncertainty = -sample_each(logits, drawn.candidates).abs()
    chosen = uncertainty.topk(plan.uncertain, dim=1).indices[..., None].expand(-1, -1, 2)
    return torch.cat([drawn.candidates.gather(1, chosen), drawn.rest], 1)


def sample_each(maps: Float[Tensor, "n h w"], points: Float[Tensor, "n p 2"]) -> Float[Tensor, "n p"]:
    """Bilinear samples of each map at its own points; zero counts as what lies outside."""
    grid = (2.0 * points - 1.0)[:, :, None]
    sampled: Tensor = F.grid_sample(maps[:, None], grid, mode="bilinear", align_corners=False)
    return sampled[:, 0, :, 0]


def sample_all(maps: Float[Tensor, "n h w"], points: Float[Tensor, "p 2"]) -> Float[Tensor, "n p"]:
    """Bilinear samples of all maps at the same points."""
    grid = (2.0 * points - 1.0)[None, :, None]
    sampled: Tensor = F.grid_sample(maps[None], grid, mode="bilinear", align_corners=False)
    return sampled[0, :, :, 0]
