"""Class scores of masks against the formulas in float64, mask by mask and synonym by synonym."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg.errors import ConfigError
from ovseg.models.fcclip.classifier import (
    ClassEvidence,
    FCCLIPClassifier,
    InVocabularyClassifier,
    class_logits,
    geometric_ensemble,
)
from ovseg.types import BackboneSpec, Features, MaskProposals, TextEmbeddings

DIM, EMBED = 8, 6
SPEC = BackboneSpec(
    channels={4: 2, 8: 4, 16: 8, 32: 16},
    dense_channels=16,
    embed_dim=EMBED,
    pixel_mean=(0.0, 0.0, 0.0),
    pixel_std=(1.0, 1.0, 1.0),
)
IS_SEEN = torch.tensor([True, False, True, False])


def draw_evidence(spread: float = 2.0) -> ClassEvidence:
    return ClassEvidence(spread * torch.randn(2, 3, 5), spread * torch.randn(2, 3, 5))


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def naive_ensemble(evidence: ClassEvidence, alpha: float, beta: float, valid: Tensor | None = None) -> Tensor:
    """Probabilities, void last, with Python's floats."""
    result = torch.empty(evidence.in_vocabulary.shape, dtype=torch.float64)
    for b in range(result.shape[0]):
        for q in range(result.shape[1]):
            inside, outside = (
                logits[b, q].double().tolist()
                for logits in (evidence.in_vocabulary, evidence.out_of_vocabulary)
            )
            p_in, p_out, void = softmax(inside[:-1]), softmax(outside[:-1]), softmax(inside)[-1]
            weights = [alpha if seen else beta for seen in IS_SEEN.tolist()]
            if valid is not None and not valid[b, q]:
                weights = [0.0] * len(weights)
            scores = [math.log(i ** (1 - w) * o**w) for i, o, w in zip(p_in, p_out, weights, strict=True)]
            joined = [probability * (1 - void) for probability in softmax(scores)]
            result[b, q] = torch.tensor([*joined, void])
    return result


@pytest.mark.parametrize(("alpha", "beta"), [(0.4, 0.8), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
def test_geometric_ensemble(alpha: float, beta: float) -> None:
    evidence = draw_evidence()
    found = geometric_ensemble(evidence, IS_SEEN, alpha=alpha, beta=beta)
    expected = naive_ensemble(evidence, alpha, beta)
    assert torch.allclose(found.double(), (expected + 1e-8).log(), atol=1e-5)
    assert torch.allclose(found.exp().sum(-1), torch.ones(2, 3), atol=1e-5)


def test_no_weight_leaves_the_trained_classifier_alone() -> None:
    evidence = draw_evidence()
    found = geometric_ensemble(evidence, IS_SEEN, alpha=0.0, beta=0.0)
    assert torch.allclose(found.exp(), evidence.in_vocabulary.softmax(-1), atol=1e-6)


def test_full_weight_leaves_the_frozen_clip_and_void() -> None:
    evidence = draw_evidence()
    found = geometric_ensemble(evidence, IS_SEEN, alpha=1.0, beta=1.0).exp()
    void = evidence.in_vocabulary.softmax(-1)[..., -1:]
    outside = evidence.out_of_vocabulary[..., :-1].softmax(-1) * (1 - void)
    assert torch.allclose(found, torch.cat([outside, void], -1), atol=1e-6)


@pytest.mark.parametrize("filling", [0.0, math.nan, math.inf])
def test_an_invalid_mask_has_no_part_outside(filling: float) -> None:
    """Whatever the pool of an empty mask gave, not-a-number included."""
    evidence = draw_evidence()
    valid = torch.tensor([[True, False, True], [False, True, True]])
    outside = evidence.out_of_vocabulary.masked_fill(~valid[..., None], filling)
    found = geometric_ensemble(
        replace(evidence, out_of_vocabulary=outside), IS_SEEN, alpha=0.4, beta=0.8, valid=valid
    )
    expected = naive_ensemble(evidence, 0.4, 0.8, valid)
    assert torch.allclose(found.double(), (expected + 1e-8).log(), atol=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(0.4, 0.8), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("side", ["in_vocabulary", "out_of_vocabulary", "both", "opposite"])
def test_underflow_gives_no_nan(side: str, alpha: float, beta: float) -> None:
    """Logits 200 apart, the most that scaled cosines can be: the smaller probability is 0 in float32."""
    evidence = draw_evidence()
    extreme = torch.zeros(2, 3, 5)
    extreme[..., 2] = 200.0
    if side != "in_vocabulary":
        evidence = replace(evidence, out_of_vocabulary=extreme)
    if side != "out_of_vocabulary":
        evidence = replace(evidence, in_vocabulary=extreme.roll(-1, -1) if side == "opposite" else extreme)
    found = geometric_ensemble(evidence, IS_SEEN, alpha=alpha, beta=beta)
    assert not found.isnan().any()
    assert torch.allclose(found.exp().sum(-1), torch.ones(2, 3), atol=1e-5)
    expected = naive_ensemble(evidence, alpha, beta)
    assert torch.allclose(found.double().exp(), expected + 1e-8, atol=1e-5)


def test_class_logits_take_the_best_synonym() -> None:
    vectors, rows = torch.randn(2, 3, EMBED), F.normalize(torch.randn(6, EMBED), dim=-1)
    class_of_row = torch.tensor([0, 0, 1, 2, 2, 2])
    found = class_logits(vectors, rows, class_of_row, torch.tensor(20.0))
    assert found.shape == (2, 3, 3)
    for b in range(2):
        for q in range(3):
            vector = vectors[b, q].double()
            cosines = [20 * float(vector @ row.double() / vector.norm()) for row in rows]
            expected = [max(cosines[:2]), cosines[2], max(cosines[3:])]
            assert found[b, q].tolist() == pytest.approx(expected, abs=1e-4)


def test_one_name_per_class_is_no_special_case() -> None:
    vectors, rows = torch.randn(1, 4, EMBED), F.normalize(torch.randn(3, EMBED), dim=-1)
    scale = torch.tensor(10.0)
    one = class_logits(vectors, rows, torch.arange(3), scale)
    twice = class_logits(vectors, rows.repeat_interleave(2, 0), torch.arange(3).repeat_interleave(2), scale)
    assert torch.allclose(one, twice, atol=1e-6)


def proposals(batch: int = 2, queries: int = 3) -> MaskProposals:
    return MaskProposals(
        logits=torch.randn(batch, queries, 8, 12),
        pixel_features=torch.randn(batch, DIM, 8, 12),
        queries=torch.randn(batch, queries, DIM),
    )


def in_vocabulary_vectors(made: InVocabularyClassifier, given: MaskProposals) -> Tensor:
    """Pooled features, normalised, projected, added to the queries and brought to text space, in float64."""
    inside = (given.logits > 0).double()
    pooled = torch.einsum("bqhw,bchw->bqc", inside, given.pixel_features.double())
    pooled = pooled / inside.sum((2, 3))[..., None]
    centred = pooled - pooled.mean(-1, keepdim=True)
    x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    x = x * made.pool_norm.weight.double() + made.pool_norm.bias.double()
    x = x @ made.pool_proj.weight.double().T + made.pool_proj.bias.double() + given.queries.double()
    for index, layer in enumerate(made.class_embed.layers):
        x = (x.clamp(min=0) if index else x) @ layer.weight.double().T + layer.bias.double()
    return x


@pytest.mark.parametrize(("log_scale", "scale"), [(math.log(10.0), 10.0), (4.7, 100.0), (30.0, 100.0)])
def test_the_trained_classifier(log_scale: float, scale: float) -> None:
    """The scale is clamped at 100."""
    made = InVocabularyClassifier(dim=DIM, embed_dim=EMBED).requires_grad_(False)
    torch.nn.init.normal_(made.pool_norm.weight)
    made.logit_scale.fill_(log_scale)
    given, rows = proposals(), F.normalize(torch.randn(4, EMBED), dim=-1)
    found = made(given, rows, torch.arange(4))
    expected = scale * F.normalize(in_vocabulary_vectors(made, given), dim=-1) @ rows.double().T
    assert torch.allclose(found.double(), expected, atol=1e-3)


def test_the_trained_scale_starts_at_clip_s() -> None:
    made = InVocabularyClassifier(dim=DIM, embed_dim=EMBED)
    assert made.logit_scale.exp().item() == pytest.approx(1 / 0.07)


class PoolingBackbone:
    """A backbone whose pool is a plain mean over the masks' positive pixels; it keeps the masks."""

    def __init__(self) -> None:
        self.masks: list[Tensor] = []

    @property
    def spec(self):
        return SPEC

    @property
    def weights_name(self):
        return None

    def __call__(self, images):
        raise NotImplementedError

    def encode_text(self, prompts):
        raise NotImplementedError

    def text_fingerprint(self):
        raise NotImplementedError

    def project(self, vectors):
        return vectors[..., :EMBED]

    def pool(self, features, masks):
        self.masks.append(masks)
        inside = (masks > 0).float()
        vectors = torch.einsum("bqhw,bchw->bqc", inside, features.dense)[..., :EMBED]
        return vectors / inside.sum((2, 3))[..., None]  # not a number for an empty mask

    def text_logit_scale(self):
        return 30.0

    def load_weights(self, path):
        raise NotImplementedError

    def set_image_dtype(self, dtype):
        raise NotImplementedError


@pytest.fixture
def text() -> TextEmbeddings:
    rows = F.normalize(torch.randn(6, EMBED), dim=-1)
    return TextEmbeddings(rows=rows, class_of_row=torch.tensor([0, 1, 1, 2, 3, 3]), is_seen=IS_SEEN)


@pytest.fixture
def features() -> Features:
    dense = torch.randn(2, 16, 2, 3)
    return Features(pyramid={32: dense}, dense=dense, image_size=(32, 48))


@pytest.mark.parametrize("ensemble_on_valid_mask", [True, False])
def test_the_whole(features: Features, text: TextEmbeddings, ensemble_on_valid_mask: bool) -> None:
    """Masks are resized to the dense map, void is a last row of its own, both scales count."""
    made = FCCLIPClassifier(
        backbone=SPEC, dim=DIM, ensemble_on_valid_mask=ensemble_on_valid_mask
    ).requires_grad_(False)
    backbone, given = PoolingBackbone(), proposals()
    given.logits[..., 2:6, 2:6] = 3.0  # inside at stride 32, too
    if ensemble_on_valid_mask:
        given.logits[0, 1] = -1.0
        given.logits[0, 1, 0, 0] = 1.0  # nowhere at stride 32
    found = made(backbone, features, text, given)
    masks = F.interpolate(given.logits.double(), size=(2, 3), mode="bilinear", align_corners=False)
    assert torch.allclose(backbone.masks[0].double(), masks, atol=1e-6)
    void = F.normalize(made.void_embedding.weight, dim=-1)
    rows, classes = torch.cat([text.rows, void]).double(), [[0], [1, 2], [3], [4, 5], [6]]

    def logits(vectors: Tensor, scale: float) -> Tensor:
        cosines = scale * F.normalize(vectors.double(), dim=-1) @ rows.T
        return torch.stack([cosines[..., names].max(-1).values for names in classes], -1)

    evidence = ClassEvidence(
        logits(in_vocabulary_vectors(made.in_vocabulary, given), 1 / 0.07),
        logits(backbone.pool(features, backbone.masks[0]), 30.0),
    )
    valid = (masks > 0).flatten(2).any(-1)
    assert bool(valid[0, 1]) != ensemble_on_valid_mask
    expected = naive_ensemble(evidence, 0.4, 0.8, valid if ensemble_on_valid_mask else None)
    assert torch.allclose(found.double().exp(), expected + 1e-8, atol=1e-5)


def test_without_proposals_it_says_what_to_use(features: Features, text: TextEmbeddings) -> None:
    made = FCCLIPClassifier(backbone=SPEC, dim=DIM)
    whole = proposals()
    for lacking in (None, replace(whole, queries=None), replace(whole, pixel_features=None)):
        with pytest.raises(ConfigError) as error:
            made(PoolingBackbone(), features, text, lacking)
        assert str(error.value) == (
            "classifier fcclip names mask proposals by their queries and pixel features; the mask generator "
            "gives none. Use model/mask_generator=mask2former, or another classifier."
        )


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("value", [-0.1, 1.01, math.nan])
def test_exponents_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as error:
        FCCLIPClassifier(backbone=SPEC, dim=DIM, **{name: value})
    assert str(error.value) == f"classifier fcclip: {name}={value} must be in 0..1."
