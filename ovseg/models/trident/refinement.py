"""Coarse classes of pixels to those of the masks that SAM makes of their regions.

Source: Trident (arXiv 2411.09219), section 3.4; `seg_utils/seg_refine.py`.

Letters: h w the picture, y x the half-size map that regions were found in, n regions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovseg.interfaces import PromptableMaskGenerator
from ovseg.models.trident.regions import NO_REGION, Regions
from ovseg.types import Features, MaskProposals

MASKS_AT_ONCE = 8
"""How many masks exist at the picture's size at the same time."""


@dataclass(frozen=True)
class Labelled:
    """A label map and where it is from.

    Attributes:
        labels: class index, `NOTHING` where none was given.
        probabilities: of those classes.
        owners: index of the region whose mask gave the label, `NO_REGION` where it is the coarse one.
    """

    labels: Int[Tensor, "h w"]
    probabilities: Float[Tensor, "h w"]
    owners: Int[Tensor, "h w"]


@dataclass(frozen=True)
class ClassMask:
    """What the masks of one class say together.

    Attributes:
        label: class index.
        logits: the highest mask logit at each pixel.
        owners: index of the region that it is from.
    """

    label: int
    logits: Float[Tensor, "h w"]
    owners: Int[Tensor, "h w"]

    def scores(self, likely: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """The class's probability times the mask's, 0 outside the mask."""
        return likely * self.logits.sigmoid() * (self.logits > 0)


def unrefined(labels: Int[Tensor, "h w"], probabilities: Float[Tensor, "h w"]) -> Labelled:
    """The coarse map alone."""
    return Labelled(labels, probabilities, torch.full_like(labels, NO_REGION))


def refine(
    coarse: Labelled,
    masks: Iterable[ClassMask],
    probability_of: Callable[[int], Float[Tensor, "h w"]],
    *,
    failed: Bool[Tensor, "h w"] | None = None,
) -> Labelled:
    """Inside masks, the class of the highest score; elsewhere the coarse class stays.

    Args:
        coarse: before.
        masks: class by class, in ascending order; of equal scores the first stays.
        probability_of: of a class, at every pixel.
        failed: where regions are whose masks were dropped and that win back pixels that are surer of their
            coarse class than any mask is of its own; None lets them win nothing, which is what the official
            code does.
    """
    best = torch.zeros_like(coarse.probabilities)
    labels, probabilities, owners = coarse.labels, coarse.probabilities, coarse.owners
    for mask in masks:
        likely = probability_of(mask.label)
        scores = mask.scores(likely)
        wins = scores > best
        best = torch.where(wins, scores, best)
        labels = labels.masked_fill(wins, mask.label)
        probabilities = torch.where(wins, likely, probabilities)
        owners = torch.where(wins, mask.owners, owners)
    if failed is not None:
        back = failed & (coarse.probabilities > best)
        labels = torch.where(back, coarse.labels, labels)
        probabilities = torch.where(back, coarse.probabilities, probabilities)
        owners = torch.where(back, coarse.owners, owners)
    return Labelled(labels, probabilities, owners)


def class_masks(
    generator: PromptableMaskGenerator,
    features: Features,
    proposals: MaskProposals,
    regions: Regions,
    kept: Bool[Tensor, " n"],
    *,
    seen: tuple[int, int],
    picture: tuple[int, int],
) -> Iterator[ClassMask]:
    """The masks of the regions that are kept, at the picture's size, class by class.

    Args:
        generator: made the proposals.
        features: of the picture that the generator was shown.
        proposals: one per region.
        regions: what the masks are of.
        kept: regions whose masks count.
        seen: (height, width) of the picture that the generator was shown, to which masks are enlarged first.
        picture: (height, width) of the result.
    """
    for label in regions.labels[kept].unique().tolist():
        members = (kept & (regions.labels == label)).nonzero()[:, 0]
        best = torch.full(picture, -torch.inf, device=members.device)
        owners = torch.full(picture, NO_REGION, dtype=torch.int32, device=members.device)
        for some in members.split(MASKS_AT_ONCE):
            logits = generator.enlarge(proposals.logits[0, some], features, seen)
            if seen != picture:
                logits = F.interpolate(logits[None], size=picture, mode="bilinear")[0]
            top = logits.max(0)
            higher = top.values > best
            best = torch.where(higher, top.values, best)
            owners = torch.where(higher, some[top.indices].to(torch.int32), owners)
        yield ClassMask(label, best, owners)


def at_picture(places: Int[Tensor, "y x"], picture: tuple[int, int]) -> Int[Tensor, "h w"]:
    """A map of indices enlarged by the nearest value."""
    enlarged = F.interpolate(places[None, None].double(), size=picture, mode="nearest")
    return enlarged[0, 0].to(places.dtype)
