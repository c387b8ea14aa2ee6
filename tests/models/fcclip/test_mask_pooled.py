"""Names of masks from the frozen CLIP alone, against a loop over the masks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from golden.scene import scene
from helpers.tiny_fcclip import golden_method, read_golden

from ovseg.errors import ConfigError
from ovseg.interfaces import Classifier
from ovseg.models.common.text import TextCache
from ovseg.models.fcclip.backbone import CLIP_MEAN, CLIP_STD
from ovseg.models.fcclip.mask_pooled import MaskPooledClassifier, masks_on_grid
from ovseg.models.fcclip.method import FCCLIP
from ovseg.types import NOTHING, Features, MaskProposals


@pytest.fixture
def parts():
    method = golden_method("tiny")
    text = method.embed(method.backbone, read_golden("tiny").vocabulary)
    features = method.backbone(torch.randn(2, 3, 96, 128))
    return method, features, text


def proposals(count: int) -> MaskProposals:
    return MaskProposals(logits=torch.randn(2, count, 24, 32))


def test_each_mask_is_named_by_the_mean_of_its_features(parts):
    method, features, text = parts
    given = proposals(5)
    classifier = MaskPooledClassifier()
    assert isinstance(classifier, Classifier)
    found = classifier(method.backbone, features, text, given)
    scale = float(method.backbone.clip.logit_scale.exp().clamp(max=100))
    for picture in range(2):
        for mask in range(5):
            coarse = F.interpolate(given.logits[picture, mask][None, None], size=(3, 4), mode="bilinear")[
                0, 0
            ]
            pooled = features.dense[picture][:, coarse > 0].mean(1)
            vector = F.normalize(method.backbone.project(pooled[None]), dim=-1)[0]
            cosines = text.rows @ vector
            best = [max(cosines[text.class_of_row == label].tolist()) for label in range(len(text.is_seen))]
            expected = torch.tensor([scale * cosine for cosine in best]).softmax(-1)
            probabilities = found[picture, mask].softmax(-1)
            assert torch.allclose(probabilities[:-1], expected, atol=1e-5)
            assert probabilities[-1] < 1.1e-8


def test_it_is_fcclip_s_out_of_vocabulary_classifier(parts):
    method, features, text = parts
    given = method.mask_generator(features)
    coarse = masks_on_grid(given.logits, (3, 4))
    assert (coarse > 0).flatten(2).any(-1).all()
    evidence = method.classifier.evidence(method.backbone, features, text, given, coarse)
    found = MaskPooledClassifier()(method.backbone, features, text, given)
    expected = evidence.out_of_vocabulary[..., :-1].softmax(-1)
    assert torch.allclose(found.softmax(-1)[..., :-1], expected, atol=1e-6)


def test_a_mask_between_the_positions_of_the_grid_has_the_one_it_covers_most():
    logits = torch.full((1, 3, 16, 16), -5.0)
    logits[0, 0, 9:11, 0:2] = 5.0  # of the position at (2, 0), which is read at rows 9, 10 and columns 1, 2
    logits[0, 1, 4, 15] = 5.0
    logits[0, 2, :8] = 5.0
    found = masks_on_grid(logits, (4, 4)) > 0
    assert found[0, 0].nonzero().tolist() == [[2, 0]]
    assert found[0, 1].nonzero().tolist() == [[1, 3]]
    assert found[0, 2].nonzero().tolist() == [[row, column] for row in (0, 1) for column in range(4)]


def test_no_masks_have_no_names(parts):
    method, features, text = parts
    found = MaskPooledClassifier()(method.backbone, features, text, proposals(0))
    assert found.shape == (2, 0, len(text.is_seen) + 1)


def test_without_proposals_there_is_nothing_to_name(parts):
    method, features, text = parts
    with pytest.raises(ConfigError, match=r"mask_pooled names mask proposals, .* model/classifier=cosine"):
        MaskPooledClassifier()(method.backbone, features, text)


class SomeMasks(torch.nn.Module):
    """As many rectangles from the top left corner as the red of the first pixel says."""

    def forward(self, features: Features, prompts=None) -> MaskProposals:
        height, width = (side // 4 for side in features.image_size)
        images = features.images
        assert images is not None
        counts = tuple(round(float(image[0, 0, 0]) * CLIP_STD[0] + CLIP_MEAN[0]) for image in images)
        logits = torch.full((len(counts), max(counts), height, width), -10.0)
        for mask in range(max(counts)):
            logits[:, mask, : height // (mask + 1), : width // (mask + 1)] = 10.0
        return MaskProposals(logits=logits, counts=counts)


def test_pictures_of_a_batch_may_have_different_numbers_of_masks():
    shared = golden_method("tiny")
    method = FCCLIP(
        backbone=shared.backbone,
        mask_generator=SomeMasks(),
        classifier=MaskPooledClassifier(),
        text_cache=TextCache(None),
        training_vocabulary=None,
        short_side=64,
        long_side=160,
    ).eval()
    vocabulary = read_golden("tiny").vocabulary
    pictures = [scene(64, 96, seed) for seed in range(4)]
    for count, picture in zip((2, 0, 3, 2), pictures, strict=True):
        picture[0, 0] = count
    tasks = ("semantic", "panoptic", "instance")
    together = method.predict_batch(pictures, vocabulary, tasks=tasks)
    alone = [method.predict(picture, vocabulary, tasks=tasks) for picture in pictures]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.semantic, other.semantic)
        assert [replace(s, score=None) for s in one.panoptic.segments] == [
            replace(s, score=None) for s in other.panoptic.segments
        ]
        assert torch.equal(one.panoptic.ids, other.panoptic.ids)
        assert torch.allclose(one.instances.scores, other.instances.scores, atol=1e-5)
    counts = [len(one.instances.scores) for one in together]
    assert [count // (counts[0] // 2) for count in counts] == [2, 0, 3, 2]
    nothing = together[1]
    assert (nothing.semantic == NOTHING).all()
    assert nothing.panoptic.segments == ()
    assert not nothing.panoptic.ids.any()
