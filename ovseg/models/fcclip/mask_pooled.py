"""Naming masks by the frozen CLIP alone: FC-CLIP's out-of-vocabulary classifier without the trained one.

Source: FC-CLIP (arXiv 2308.02487), section 3.3, equation 4.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone
from ovseg.models.fcclip.classifier import class_logits
from ovseg.types import Features, MaskProposals, TextEmbeddings

VOID_LOGIT = math.log(1e-8)


class MaskPooledClassifier(nn.Module):
    """Masks to text space by pooling the backbone's last map; nothing in it is trained."""

    def __init__(self) -> None:  # torch's own takes any arguments, which is no schema for a config
        super().__init__()

    def forward(
        self,
        backbone: Backbone,
        features: Features,
        text: TextEmbeddings,
        proposals: MaskProposals | None = None,
    ) -> Float[Tensor, "b q k_and_void"]:
        """Logits per mask whose softmax is the class probability; that of void, the last, is next to 0.

        Raises:
            ConfigError: there are no proposals.
        """
        if proposals is None:
            raise ConfigError(
                "classifier mask_pooled names mask proposals, and this method makes none. Use "
                "model/classifier=cosine, or a method with a mask generator."
            )
        pictures, masks = proposals.logits.shape[:2]
        if masks == 0:
            return proposals.logits.new_zeros(pictures, 0, text.is_seen.shape[0] + 1)
        grid = (features.dense.shape[-2], features.dense.shape[-1])
        vectors = backbone.pool(features, masks_on_grid(proposals.logits, grid))
        scale = torch.tensor(backbone.text_logit_scale(), device=vectors.device)
        logits = class_logits(vectors, text.rows, text.class_of_row, scale).log_softmax(-1)
        return F.pad(logits, (0, 1), value=VOID_LOGIT)


def masks_on_grid(logits: Float[Tensor, "b q h w"], size: tuple[int, int]) -> Float[Tensor, "b q y x"]:
    """Mask logits on a coarse grid, as FC-CLIP resizes them, with at least one positive position per mask.

    A mask that is too small for the grid would pool nothing and get a name that has nothing to do with it. It
    is given the position that it covers most.
    """
    masks = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    lost = (masks <= 0).flatten(2).all(-1)
    if not lost.any():
        return masks
    cover = F.interpolate(logits[lost][None], size=size, mode="area")[0]
    best = cover == cover.amax((-2, -1), keepdim=True)
    masks[lost] = best.to(masks.dtype)
    return masks
