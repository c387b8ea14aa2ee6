"""Naming masks: an in-vocabulary and an out-of-vocabulary classifier, joined by a geometric ensemble.

Source: FC-CLIP (arXiv 2308.02487), sections 3.3 and 3.4; official `fcclip/fcclip.py`.

Letters: b pictures, q masks, k classes, s synonyms, e text-space dimensions, h w a grid.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone
from ovseg.models.common.linear import linear
from ovseg.models.common.pooling import mask_pool
from ovseg.models.fcclip.attention import Perceptron
from ovseg.types import BackboneSpec, Features, MaskProposals, TextEmbeddings

MAX_LOGIT_SCALE = 100.0


@dataclass(frozen=True)
class ClassEvidence:
    """Both classifiers' logits per mask; the last column is void."""

    in_vocabulary: Float[Tensor, "b q k_and_void"]
    out_of_vocabulary: Float[Tensor, "b q k_and_void"]


class InVocabularyClassifier(nn.Module):
    """Masks to text space by features that were trained for it.

    Args:
        dim: channels of the proposals' queries and pixel features.
        embed_dim: of the text space.
    """

    def __init__(self, *, dim: int, embed_dim: int) -> None:
        super().__init__()
        self.pool_norm = nn.LayerNorm(dim)
        self.pool_proj = nn.Linear(dim, dim)
        self.class_embed = Perceptron(dim, dim, dim, embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(
        self, proposals: MaskProposals, rows: Float[Tensor, "s e"], class_of_row: Int[Tensor, " s"]
    ) -> Float[Tensor, "b q k"]:
        """Class logits of proposals that have queries and pixel features; `rows` are normalised."""
        assert proposals.pixel_features is not None
        assert proposals.queries is not None
        pooled = self.pool_norm(mask_pool(proposals.pixel_features, proposals.logits))
        pooled = linear(pooled, self.pool_proj.weight, self.pool_proj.bias)
        vectors = self.class_embed(pooled + proposals.queries)
        scale = self.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        return class_logits(vectors, rows, class_of_row, scale)


class FCCLIPClassifier(nn.Module):
    """The ensemble of both classifiers, with the trained void embedding.

    Args:
        backbone: its text space.
        dim: channels of the proposals' queries and pixel features.
        alpha: exponent of the out-of-vocabulary probability for classes that were seen in training.
        beta: the same for unseen classes; 0 trusts the trained classifier alone, 1 the frozen CLIP alone.
        ensemble_on_valid_mask: give masks without any positive pixel at the backbone's stride no
            out-of-vocabulary part (on for the ResNets, whose attention pool has nothing to pool there).

    Raises:
        ConfigError: alpha or beta is outside 0..1.
    """

    def __init__(
        self,
        *,
        backbone: BackboneSpec,
        dim: int = 256,
        alpha: float = 0.4,
        beta: float = 0.8,
        ensemble_on_valid_mask: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value <= 1:
                raise ConfigError(f"classifier fcclip: {name}={value} must be in 0..1.")
        self.alpha, self.beta = alpha, beta
        self.ensemble_on_valid_mask = ensemble_on_valid_mask
        self.in_vocabulary = InVocabularyClassifier(dim=dim, embed_dim=backbone.embed_dim)
        self.void_embedding = nn.Embedding(1, backbone.embed_dim)

    def forward(
        self,
        backbone: Backbone,
        features: Features,
        text: TextEmbeddings,
        proposals: MaskProposals | None = None,
    ) -> Float[Tensor, "b q k_and_void"]:
        """Logits per mask whose softmax is the class probability, void last.

        Raises:
            ConfigError: there are no proposals, or they lack queries or pixel features.
        """
        if proposals is None or proposals.queries is None or proposals.pixel_features is None:
            raise ConfigError(
                "classifier fcclip names mask proposals by their queries and pixel features; the mask "
                "generator gives none. Use model/mask_generator=mask2former, or another classifier."
            )
        masks = F.interpolate(
            proposals.logits, size=features.dense.shape[-2:], mode="bilinear", align_corners=False
        )
        evidence = self.evidence(backbone, features, text, proposals, masks)
        valid = (masks > 0).flatten(2).any(-1) if self.ensemble_on_valid_mask else None
        return geometric_ensemble(evidence, text.is_seen, alpha=self.alpha, beta=self.beta, valid=valid)

    def evidence(
        self,
        backbone: Backbone,
        features: Features,
        text: TextEmbeddings,
        proposals: MaskProposals,
        masks: Float[Tensor, "b q h w"],
    ) -> ClassEvidence:
        """Logits of both classifiers; `masks` are the proposals' logits on the grid of `features.dense`."""
        rows, class_of_row = self.with_void(text)
        vectors = backbone.pool(features, masks)
        scale = torch.tensor(backbone.text_logit_scale(), device=vectors.device)
        return ClassEvidence(
            in_vocabulary=self.in_vocabulary(proposals, rows, class_of_row),
            out_of_vocabulary=class_logits(vectors, rows, class_of_row, scale),
        )

    def with_void(self, text: TextEmbeddings) -> tuple[Float[Tensor, "s e"], Int[Tensor, " s"]]:
        """The text rows and their classes with the void embedding as a last class."""
        void = F.normalize(self.void_embedding.weight, dim=-1)
        last = text.class_of_row.new_tensor([text.is_seen.shape[0]])
        return torch.cat([text.rows, void]), torch.cat([text.class_of_row, last])


def class_logits(
    vectors: Float[Tensor, "b q e"],
    rows: Float[Tensor, "s e"],
    class_of_row: Int[Tensor, " s"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, "b q k"]:
    """Scaled cosines to the text rows, per class the maximum over its synonyms.

    Source: official `get_classification_logits`.
    """
    cosines = scale * (F.normalize(vectors, dim=-1) @ rows.T)
    classes = int(class_of_row[-1]) + 1
    if classes == rows.shape[0]:
        return cosines
    lowest = cosines.new_full((*cosines.shape[:-1], classes), -torch.inf)
    return lowest.scatter_reduce(-1, class_of_row.expand_as(cosines), cosines, "amax")


def geometric_ensemble(
    evidence: ClassEvidence,
    is_seen: Bool[Tensor, " k"],
    *,
    alpha: float,
    beta: float,
    valid: Bool[Tensor, "b q"] | None = None,
) -> Float[Tensor, "b q k_and_void"]:
    """Join the two classifiers' probabilities as p_in^(1-w) p_out^w; w is alpha for seen, else beta.

    The joined scores are softmaxed and scaled by 1 - v, where v is the in-vocabulary probability of void,
    which becomes the last column. Where `valid` is False, w is 0.

    Source: paper, equation 7; official `fcclip.py`. Taken in logarithms, which stay finite where
    probabilities underflow; a weight of 0 leaves out even a probability that is not a number.

    Returns:
        log(probability + 1e-8).
    """
    log_in = evidence.in_vocabulary[..., :-1].log_softmax(-1)
    log_out = evidence.out_of_vocabulary[..., :-1].log_softmax(-1)
    weight = torch.where(is_seen, alpha, beta).to(log_in.dtype).expand_as(log_in)
    if valid is not None:
        weight = weight * valid[..., None]
    joined = (1 - weight) * log_in + (weight * log_out).masked_fill(weight == 0, 0.0)
    void = evidence.in_vocabulary.softmax(-1)[..., -1:]
    return (torch.cat([joined.softmax(-1) * (1 - void), void], -1) + 1e-8).log()
