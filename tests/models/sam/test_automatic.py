"""SAM's automatic masks against the package's generator on the same picture and weights."""

import json

import numpy as np
import pytest
import torch
from golden.scene import scene
from helpers.tiny_trident import read_golden
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from ovseg.errors import ConfigError
from ovseg.interfaces import MaskGenerator, Pretrained, PromptableMaskGenerator
from ovseg.models.sam.automatic import LOGIT, sam_automatic
from ovseg.types import BackboneSpec, Features, MaskProposals

SPEC = BackboneSpec(
    channels={32: 4},
    dense_channels=4,
    embed_dim=4,
    pixel_mean=(122.7, 116.7, 104.1),
    pixel_std=(68.5, 66.6, 70.3),
)
LOOSE = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
}
"""With drawn weights few masks differ much, and none is good."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An architecture and weights for it: of the golden SAM, but for a smaller picture."""
    folder = tmp_path_factory.mktemp("sam")
    architecture, weights = folder / "sam.json", folder / "sam.pth"
    architecture.write_text(json.dumps({**read_golden("a").facts["tiny_config"]["sam"], "image_size": 128}))
    torch.manual_seed(0)
    torch.save(sam_automatic(backbone=SPEC, architecture=str(architecture)).state_dict(), weights)
    return architecture, weights


@pytest.fixture
def make(files):
    """Build and fill, as the loader does it."""

    def build(**settings):
        architecture, weights = files
        with torch.device("meta"):
            made = sam_automatic(
                backbone=SPEC, architecture=str(architecture), checkpoint=str(weights), **settings
            )
        made.load_weights(weights)
        return made

    return build


def features(*pictures: np.ndarray) -> Features:
    """What a backbone would say of pictures of one size."""
    mean, std = torch.tensor(SPEC.pixel_mean), torch.tensor(SPEC.pixel_std)
    images = (torch.from_numpy(np.stack(pictures)).float() - mean) / std
    images = images.permute(0, 3, 1, 2).contiguous()
    dense = torch.zeros(len(pictures), 4, 2, 3)
    return Features({32: dense}, dense, (images.shape[2], images.shape[3]), images=images)


def official(made, picture: np.ndarray, **settings) -> list[dict]:
    """The package's own records, its own encoder included."""
    sam = Sam(
        image_encoder=made.image_encoder,
        prompt_encoder=made.prompt_encoder,
        mask_decoder=made.mask_decoder,
    )
    return SamAutomaticMaskGenerator(sam, **settings).generate(picture)


def test_it_is_a_mask_generator_with_weights_of_its_own(make, files):
    made = make()
    assert isinstance(made, MaskGenerator)
    assert isinstance(made, Pretrained)
    assert not isinstance(made, PromptableMaskGenerator)
    assert made.weights_name == str(files[1])
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_the_masks_are_the_package_s(make):
    picture = scene(64, 96, 1)
    made = make(**LOOSE, points_per_batch=3)
    found = made(features(picture))
    records = sorted(official(made, picture, **LOOSE), key=lambda record: -record["predicted_iou"])
    assert found.logits.shape == (1, len(records), 16, 24)
    assert found.queries is None
    assert found.counts == (len(records),)
    assert len(records) > 2
    expected = torch.tensor([record["predicted_iou"] for record in records]).clamp(0, 1)
    assert torch.allclose(found.scores[0], expected, atol=1e-4)
    masks = torch.from_numpy(np.stack([record["segmentation"] for record in records])).double()
    share = torch.nn.functional.avg_pool2d(masks, 4)
    assert (found.logits[0].double() - LOGIT * (2 * share - 1)).abs().mean() < 0.02 * LOGIT
    assert found.logits.abs().max() <= LOGIT


def test_pictures_of_a_batch_have_their_own_masks(make):
    made = make(**{**LOOSE, "box_nms_thresh": 0.9})
    pictures = [scene(64, 96, seed) for seed in (1, 2)]
    together = made(features(*pictures))
    assert len(set(together.counts)) == 2
    for index, picture in enumerate(pictures):
        alone = made(features(picture))
        count = together.counts[index]
        assert alone.counts == (count,)
        assert torch.equal(together.logits[index, :count], alone.logits[0])
        assert torch.equal(together.scores[index, :count], alone.scores[0])
        assert (together.logits[index, count:] == -LOGIT).all()
        assert not together.scores[index, count:].any()


def test_no_mask_is_good_enough(make):
    found = make(points_per_side=2, pred_iou_thresh=1e6)(features(scene(32, 64, 1), scene(32, 64, 2)))
    assert found.logits.shape == (2, 0, 8, 16)
    assert found.scores.shape == (2, 0)
    assert found.counts == (0, 0)


def test_crops_are_looked_at_too(make):
    made = make(**{**LOOSE, "points_per_side": 2}, crop_n_layers=1)
    found = made(features(scene(64, 96, 1)))
    settings = {**LOOSE, "points_per_side": 2, "crop_n_layers": 1}
    assert found.counts == (len(official(made, scene(64, 96, 1), **settings)),)


def test_the_picture_is_what_the_backbone_was_given(make):
    picture = scene(32, 64, 3)
    pixels = make()._pixels(features(picture).images[0])
    assert np.array_equal(pixels, picture)
    padding = make()._pixels(torch.zeros(3, 32, 32))
    assert (padding == np.round(SPEC.pixel_mean)).all()


def test_precision_is_that_of_the_encoder(make):
    made = make(**LOOSE)
    made.set_image_dtype(torch.bfloat16)
    assert made.image_encoder.blocks[0].mlp.lin1.weight.dtype == torch.bfloat16
    assert next(made.mask_decoder.parameters()).dtype == torch.float32
    found: MaskProposals = made(features(scene(64, 96, 1)))
    assert found.logits.dtype == torch.float32
    assert found.logits.shape[1] > 0


def test_a_backbone_without_pictures(make):
    dense = torch.zeros(1, 4, 2, 3)
    message = r"sam_automatic looks at the backbone's network input .* it is given {}\. Use one of FC-CLIP's"
    with pytest.raises(ConfigError, match=message.format("none")):
        make()(Features({32: dense}, dense, (64, 96)))
    with pytest.raises(ConfigError, match=message.format("30 x 64")):
        make()(features(scene(30, 64, 1)))


@pytest.mark.parametrize("key", ["points_per_side", "points_per_batch", "crop_n_points_downscale_factor"])
def test_numbers_out_of_range(make, key):
    with pytest.raises(ConfigError, match=rf"sam_automatic: .*{key}=0.* must be at least 1\."):
        make(**{key: 0})
