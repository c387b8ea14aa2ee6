"""Naming pixels by how near their vectors are to those of the class names; nothing is trained."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone
from ovseg.types import Features, MaskProposals, TextEmbeddings


class CosineClassifier(nn.Module):
    """Cosines of the backbone's dense vectors, brought to text space, with the class names.

    The methods that use it multiply the cosines by a scale of their own before the softmax, after they have
    enlarged them. Source: MaskCLIP (arXiv 2112.01071), section 3.2, and its successors.
    """

    def __init__(self) -> None:  # torch's own takes any arguments, which is no schema for a config
        super().__init__()

    @torch.no_grad()
    def forward(
        self,
        backbone: Backbone,
        features: Features,
        text: TextEmbeddings,
        proposals: MaskProposals | None = None,
    ) -> Float[Tensor, "b s h w"]:
        """Cosine per synonym and position of `Features.dense`, -1..1.

        Raises:
            ConfigError: there are proposals, which this classifier cannot name.
        """
        if proposals is not None:
            raise ConfigError(
                "classifier cosine names pixels, and this method has it name mask proposals. Use "
                "model/classifier=mask_pooled, or a method that names pixels."
            )
        vectors = F.normalize(backbone.project(features.dense.permute(0, 2, 3, 1)), dim=-1)
        return (vectors @ text.rows.to(vectors).T).permute(0, 3, 1, 2).contiguous()
