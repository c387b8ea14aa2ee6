"""The last block of ProxyCLIP and Trident: another encoder says which tokens belong together.

Source: ProxyCLIP (arXiv 2408.04883); official Trident (YuHengsss/Trident), whose CLIP has the
same rule in its modified `open_clip/transformer.py`.

Letters: b windows of one picture, n tokens of CLIP (the class token first), m places of the other encoder's
grid h w, c channels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.interfaces import ImageEncoder
from ovseg.models.clip_vit.tower import block_layers
from ovseg.models.common.linear import linear
from ovseg.models.common.vit import as_map, values
from ovseg.types import ImageSpec

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""What the official code undoes the normalisation with. They are not quite what it normalised with (the
backbone's `spec`, rounded), so the encoder sees colours that are off by up to a thousandth of a grey
value."""


class ProxyAttention(nn.Module):
    """Sums CLIP's values by the likeness of another encoder's features; the map has that encoder's grid.

    Likenesses below `beta` times the mean likeness over ALL windows of the picture count for nothing; the
    others are scaled by `gamma` and softmaxed. All heads use the same weights. There are no residual sums and
    no perceptron.

    A place whose every likeness is below that bound, its own included, looks at itself. (The official code
    divides 0 by 0 there and loses the picture. It takes a mean likeness above 1 / beta.)

    Args:
        encoder: whose features are compared, by cosine.
        beta: factor on the mean likeness.
        gamma: factor on what is above it; the inverse of the softmax's temperature.
    """

    def __init__(self, *, encoder: ImageEncoder, beta: float = 1.2, gamma: float = 3.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.beta, self.gamma = beta, gamma

    def forward(
        self,
        block: nn.Module,
        tokens: Float[Tensor, "b n c"],
        grid: tuple[int, int],
        images: Float[Tensor, "b 3 H W"],
    ) -> Float[Tensor, "b c h w"]:
        """Project the values of the patches, summed by the encoder's likenesses."""
        layers = block_layers(block)
        features = self.encoder(renormalise(images, self.encoder.spec)).dense
        weights = self.scores(affinity(features)).softmax(-1)
        value = values(layers, tokens[:, 1:]).float()
        size = (features.shape[-2], features.shape[-1])
        if size != grid:
            resized = F.interpolate(as_map(value, grid), size=size, mode="bilinear", align_corners=False)
            value = resized.flatten(2).transpose(1, 2)
        summed = torch.bmm(weights, value).to(layers.dtype)
        return as_map(linear(summed, *layers.out).float(), size)

    def scores(self, likeness: Float[Tensor, "b m m"]) -> Float[Tensor, "b m m"]:
        """The logits of how much each place takes from each; minus infinity is nothing."""
        scores = (likeness - self.beta * likeness.mean()) * self.gamma
        # Nothing is more like a place than itself, so this changes the rows that would else be empty alone.
        scores.diagonal(dim1=1, dim2=2).clamp_(min=0.0)
        return scores.masked_fill_(scores < 0, -torch.inf)


def affinity(features: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m m"]:
    """Cosines of every two places within each window."""
    unit = F.normalize(features.float(), dim=1).flatten(2)
    return torch.bmm(unit.transpose(1, 2), unit)


def renormalise(images: Float[Tensor, "b 3 H W"], spec: ImageSpec) -> Float[Tensor, "b 3 H W"]:
    """Pictures that CLIP's constants normalised, normalised for another encoder."""

    def constant(values: tuple[float, float, float], unit: float) -> Float[Tensor, "3 1 1"]:
        return torch.tensor(values, device=images.device)[:, None, None] / unit

    pixels = images * constant(CLIP_STD, 1.0) + constant(CLIP_MEAN, 1.0)
    return (pixels - constant(spec.pixel_mean, 255.0)) / constant(spec.pixel_std, 255.0)
