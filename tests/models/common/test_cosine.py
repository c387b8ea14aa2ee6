"""Cosines against the textbook formula."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg.errors import ConfigError
from ovseg.models.common.cosine import CosineClassifier
from ovseg.types import BackboneSpec, Features, MaskProposals, TextEmbeddings


class Projection:
    """A backbone that only brings 5 channels to 4 dimensions."""

    weights_name = None
    spec = BackboneSpec(
        channels={16: 5}, dense_channels=5, embed_dim=4, pixel_mean=(0.0, 0.0, 0.0), pixel_std=(1.0, 1.0, 1.0)
    )

    def __init__(self) -> None:
        self.layer = nn.Linear(5, 4)

    def project(self, vectors: Tensor) -> Tensor:
        return self.layer(vectors).detach()

    def _unused(self, *_: object) -> None:
        raise AssertionError("the classifier only projects")

    __call__ = pool = encode_text = text_fingerprint = text_logit_scale = _unused
    load_weights = set_image_dtype = _unused


def inputs() -> tuple[Projection, Features, TextEmbeddings]:
    features = Features(pyramid={}, dense=torch.randn(2, 5, 3, 6), image_size=(48, 96))
    rows = F.normalize(torch.randn(3, 4), dim=-1)
    text = TextEmbeddings(rows=rows, class_of_row=torch.tensor([0, 0, 1]), is_seen=torch.zeros(2).bool())
    return Projection(), features, text


def test_one_cosine_per_synonym_and_position() -> None:
    backbone, features, text = inputs()
    cosines = CosineClassifier()(backbone, features, text)
    assert cosines.shape == (2, 3, 3, 6)
    for picture, synonym, y, x in ((0, 0, 0, 0), (1, 2, 2, 5), (1, 0, 1, 4)):
        vector = backbone.project(features.dense[picture, :, y, x])
        expected = F.cosine_similarity(vector, text.rows[synonym], dim=0)
        assert float((cosines[picture, synonym, y, x] - expected).abs()) < 1e-6


def test_proposals_are_refused_with_what_to_type() -> None:
    backbone, features, text = inputs()
    with pytest.raises(ConfigError, match=r"names pixels.*model/classifier=mask_pooled"):
        CosineClassifier()(backbone, features, text, MaskProposals(logits=torch.zeros(2, 1, 3, 6)))
