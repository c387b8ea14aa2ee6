"""Every registered part at a small size, through its protocol alone."""

import pytest
import torch
from helpers.tiny_models import REGISTRY_OF_KEY, TINY, shipped_part, small, written

from ovseg.build import build_component
from ovseg.config import config_groups
from ovseg.errors import ConfigError
from ovseg.interfaces import Backbone, ImageEncoder, Pretrained, PromptableMaskGenerator
from ovseg.models.clip_vit.backbone import ClipViT
from ovseg.types import MaskPrompts, MaskProposals, TextEmbeddings

SIZE = (64, 96)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Build the first shipped node of a registered name, small, with drawn weights."""
    folder = tmp_path_factory.mktemp("architectures")
    nodes = {}
    for group, files in config_groups().items():
        registry = REGISTRY_OF_KEY.get(group.split("/")[-1])
        if group.startswith("model/") and registry:
            for file in files:
                node = shipped_part(group, file)
                nodes.setdefault((registry, node["name"]), node)

    def build(registry, name, provided=()):
        torch.manual_seed(0)
        node = written(small(nodes[registry, name], registry), folder)
        part = build_component(registry, node, provided, path=name)
        return part.eval() if isinstance(part, torch.nn.Module) else part

    return build


@pytest.fixture(scope="module")
def pyramid_backbone(make):
    """One whose pyramid has what mask generators ask for."""
    return make("backbones", "clip_convnext")


@pytest.fixture
def images():
    return torch.randn(2, 3, *SIZE)


@pytest.mark.parametrize("name", sorted(TINY["backbones"]))
def test_encoders_say_what_their_spec_says(make, images, name):
    encoder = make("backbones", name)
    assert isinstance(encoder, ImageEncoder)
    assert isinstance(encoder, Pretrained)
    assert encoder.weights_name is None
    found = encoder(images)
    assert set(found.pyramid) == set(encoder.spec.channels)
    for stride, channels in encoder.spec.channels.items():
        assert found.pyramid[stride].shape == (2, channels, SIZE[0] // stride, SIZE[1] // stride)
    assert found.dense.shape[:2] == (2, encoder.spec.dense_channels)
    assert found.image_size == SIZE
    assert torch.equal(found.images, images)
    assert found.dense.dtype == torch.float32
    assert torch.equal(encoder(images).dense, found.dense)
    assert all(low > 0 for low in encoder.spec.pixel_std)
    encoder.set_image_dtype(torch.bfloat16)
    lower = encoder(images)
    assert lower.dense.dtype == torch.float32
    assert all(level.dtype == torch.float32 for level in lower.pyramid.values())
    assert torch.allclose(lower.dense, found.dense, atol=0.1 * float(found.dense.abs().max()))


@pytest.mark.parametrize("name", sorted(set(TINY["backbones"]) - {"dino"}))
def test_backbones_share_a_text_space(make, images, name):
    backbone = make("backbones", name)
    assert isinstance(backbone, Backbone)
    features = backbone(images)
    dim = backbone.spec.embed_dim
    masks = torch.randn(2, 4, *features.dense.shape[-2:])
    assert backbone.pool(features, masks).shape == (2, 4, dim)
    assert backbone.pool(features, masks - 100).isfinite().all()
    vectors = torch.randn(3, 5, backbone.spec.dense_channels)
    projected = backbone.project(vectors)
    assert projected.shape == (3, 5, dim)
    assert torch.allclose(backbone.project(vectors[1, 2:4]), projected[1, 2:4], atol=1e-5)
    prompts = ["a photo of a cat.", "sky"]
    text = backbone.encode_text(prompts)
    assert text.shape == (2, dim)
    assert torch.allclose(backbone.encode_text(prompts[1:]), text[1:], atol=1e-5)
    assert backbone.text_fingerprint() == backbone.text_fingerprint()
    assert 1 <= backbone.text_logit_scale() <= 100


def test_encoders_without_text_are_told_apart(make):
    for name in TINY["backbones"]:
        assert isinstance(make("backbones", name), Backbone) == (name != "dino")


@pytest.mark.parametrize("name", sorted(TINY["last_blocks"]))
def test_last_blocks_give_a_map_and_leave_their_input(make, images, name):
    last_block = make("last_blocks", name)
    vit = make("backbones", "clip_vit")
    assert isinstance(vit, ClipViT)
    block = vit.clip.visual.transformer.resblocks[-1]
    grid = (SIZE[0] // 16, SIZE[1] // 16)
    tokens = torch.randn(2, 1 + grid[0] * grid[1], vit.spec.dense_channels)
    before = tokens.clone()
    with torch.no_grad():
        found = last_block(block, tokens, grid, images)
        again = last_block(block, tokens, grid, images)
    assert found.shape[:2] == (2, vit.spec.dense_channels)
    assert found.isfinite().all()
    assert found.dtype == torch.float32
    assert torch.equal(tokens, before)
    assert torch.equal(found, again)


@pytest.mark.parametrize("name", sorted(TINY["mask_generators"]))
def test_mask_generators_propose(make, pyramid_backbone, images, name):
    generator = make("mask_generators", name, [pyramid_backbone.spec])
    with torch.no_grad():
        if isinstance(generator, PromptableMaskGenerator):
            check_promptable(generator)
            return
        found = generator(pyramid_backbone(images))
    assert found.logits.shape[0] == 2
    count = found.logits.shape[1]
    for value in (found.queries, found.scores):
        assert value is None or value.shape[:2] == (2, count)
    assert found.pixel_features is None or found.pixel_features.shape[-2:] == found.logits.shape[-2:]
    assert found.counts is None or max(found.counts) == count
    assert found.logits.isfinite().all()


def check_promptable(generator):
    picture = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8).numpy()
    seen = generator.encode(picture)
    prompts = MaskPrompts(
        points=torch.tensor([[3.0, 5.0], [20.0, 30.0]]),
        boxes=torch.tensor([[0.0, 0.0, 10.0, 10.0], [15.0, 20.0, 40.0, 39.0]]),
    )
    found = generator(seen, prompts)
    assert found.logits.shape[:2] == (1, 2)
    assert found.scores.shape == (1, 2)
    assert found.logits.isfinite().all()
    assert generator.enlarge(found.logits[0], seen, (40, 60)).shape == (2, 40, 60)


@pytest.mark.parametrize("name", sorted(TINY["classifiers"]))
def test_classifiers_name_masks_or_pixels_or_say_what_does(make, pyramid_backbone, images, name):
    classifier = make("classifiers", name, [pyramid_backbone.spec])
    rows = torch.nn.functional.normalize(torch.randn(5, pyramid_backbone.spec.embed_dim), dim=-1)
    text = TextEmbeddings(rows, torch.tensor([0, 1, 1, 2, 3]), torch.tensor([True, False, False, True]))
    features = pyramid_backbone(images)
    proposals = MaskProposals(
        logits=torch.randn(2, 6, 16, 24),
        pixel_features=torch.randn(2, 64, 16, 24),
        queries=torch.randn(2, 6, 64),
    )
    shapes = {"masks": (2, 6, 5), "pixels": (2, 5, *features.dense.shape[-2:])}
    named, refused = [], []
    for kind, given in (("masks", proposals), ("pixels", None)):
        try:
            with torch.no_grad():
                found = classifier(pyramid_backbone, features, text, given)
        except ConfigError as error:
            refused.append(str(error))
            continue
        named.append(kind)
        assert found.shape == shapes[kind]
        assert found.isfinite().all()
    assert named
    assert all("model/" in message for message in refused)  # what to write instead
