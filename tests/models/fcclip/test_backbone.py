"""The frozen CLIPs: features, projections and pools against open_clip's and timm's own modules."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_fcclip import golden_method, read_golden
from safetensors.torch import save_file
from torch import Tensor

from ovseg.errors import ConfigError, WeightsError
from ovseg.interfaces import Backbone
from ovseg.models.fcclip.backbone import ClipConvNext, ClipResNet, FrozenClip, clip_convnext, clip_resnet
from ovseg.types import Features


@pytest.fixture(params=["tiny", "tiny_rn"])
def backbone(request: pytest.FixtureRequest) -> FrozenClip:
    return golden_method(request.param).backbone


@pytest.fixture
def convnext() -> ClipConvNext:
    return golden_method("tiny").backbone


@pytest.fixture
def resnet() -> ClipResNet:
    return golden_method("tiny_rn").backbone


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def dense_features(backbone: FrozenClip, height: int = 3, width: int = 4) -> Features:
    dense = torch.randn(2, backbone.spec.dense_channels, height, width)
    return Features(pyramid={32: dense}, dense=dense, image_size=(32 * height, 32 * width))


def test_it_is_a_backbone(backbone: FrozenClip) -> None:
    assert isinstance(backbone, Backbone)


def test_features_have_the_shapes_of_the_spec(backbone: FrozenClip) -> None:
    features = backbone(torch.randn(2, 3, 64, 96))
    assert features.image_size == (64, 96)
    assert list(features.pyramid) == [4, 8, 16, 32]
    for stride, channels in backbone.spec.channels.items():
        assert features.pyramid[stride].shape == (2, channels, 64 // stride, 96 // stride)
    assert torch.equal(features.dense, features.pyramid[32])
    assert features.dense.shape[1] == backbone.spec.dense_channels


def test_convnext_features_are_timm_s(convnext: ClipConvNext) -> None:
    images = torch.randn(1, 3, 64, 96)
    trunk = convnext.clip.visual.trunk
    _, expected = trunk.forward_intermediates(images, indices=[0, 1, 2, 3], norm=False)
    found = convnext(images).pyramid
    for stride, tensor in zip((4, 8, 16, 32), expected, strict=True):
        assert torch.allclose(found[stride], tensor, atol=2e-4 * float(tensor.abs().max()))


def test_resnet_features_are_open_clip_s(resnet: ClipResNet) -> None:
    images = torch.randn(1, 3, 64, 96)
    taps: dict[str, Tensor] = {}
    tower = resnet.clip.visual
    hooks = [
        getattr(tower, name).register_forward_hook(lambda _, __, out, name=name: taps.update({name: out}))
        for name in ("layer1", "layer2", "layer3", "layer4")
    ]
    pool = tower.attnpool
    try:
        tower.attnpool = torch.nn.Identity()
        tower(images)
    finally:
        tower.attnpool = pool
        for hook in hooks:
            hook.remove()
    found = resnet(images).pyramid
    for stride, name in zip((4, 8, 16, 32), taps, strict=True):
        assert torch.allclose(found[stride], taps[name], atol=2e-4 * float(taps[name].abs().max()))


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 2, 2)])
def test_projections_keep_leading_dimensions(backbone: FrozenClip, shape: tuple[int, ...]) -> None:
    vectors = torch.randn(*shape, backbone.spec.dense_channels)
    projected = backbone.project(vectors)
    assert projected.shape == (*shape, backbone.spec.embed_dim)
    one_by_one = [backbone.project(vector[None])[0] for vector in vectors.flatten(0, -2)]
    assert torch.allclose(projected.flatten(0, -2), torch.stack(one_by_one), atol=1e-4)


def test_convnext_projects_as_its_own_head(convnext: ClipConvNext) -> None:
    vectors = torch.randn(6, convnext.spec.dense_channels)
    visual = convnext.clip.visual
    expected = visual.head(visual.trunk.head(vectors[:, :, None, None]))
    assert torch.allclose(convnext.project(vectors), expected.reshape(6, -1), atol=1e-4)


def test_convnext_pools_as_its_own_head_on_the_mean(convnext: ClipConvNext) -> None:
    features, masks = dense_features(convnext), torch.randn(2, 5, 3, 4)
    found = convnext.pool(features, masks)
    for b in range(2):
        for q in range(5):
            mean = features.dense[b][:, masks[b, q] > 0].mean(-1)
            assert torch.allclose(found[b, q], convnext.project(mean[None])[0], atol=1e-3)


def test_a_whole_mask_of_convnext_is_clip_s_own_picture_vector(convnext: ClipConvNext) -> None:
    images = torch.randn(1, 3, 64, 96)
    pooled = convnext.pool(convnext(images), torch.ones(1, 1, 2, 3))[0, 0]
    visual = convnext.clip.visual
    maps = visual.trunk.forward_features(images)
    expected = visual.head(visual.trunk.head(maps.mean((2, 3), keepdim=True))).flatten()
    assert torch.allclose(pooled, expected, atol=1e-3)


def naive_attention_pool(resnet: ClipResNet, dense: Tensor, mask: Tensor) -> Tensor:
    """One mask of one picture, in float64: the keys are its positive pixels and nothing else."""
    pool = copy.deepcopy(resnet.clip.visual.attnpool).double()
    dense, (height, width) = dense.double(), dense.shape[1:]
    side = round((pool.positional_embedding.shape[0] - 1) ** 0.5)
    grid = pool.positional_embedding[1:].unflatten(0, (side, side)).permute(2, 0, 1)
    grid = F.interpolate(grid[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    keys = (dense + grid)[:, mask > 0].T
    query = dense.flatten(1).mean(1) + pool.positional_embedding[0]
    q, k, v = (
        layer(x).unflatten(-1, (pool.num_heads, -1))
        for layer, x in ((pool.q_proj, query), (pool.k_proj, keys), (pool.v_proj, keys))
    )
    heads = []
    for head in range(pool.num_heads):
        weights = (k[:, head] @ q[head] / q.shape[-1] ** 0.5).softmax(0)
        heads.append(weights @ v[:, head])
    return pool.c_proj(torch.cat(heads))


@pytest.mark.parametrize("size", [(7, 7), (3, 4), (1, 9)])
def test_resnet_pools_by_attention_inside_the_mask(resnet: ClipResNet, size: tuple[int, int]) -> None:
    features, masks = dense_features(resnet, *size), torch.randn(2, 4, *size)
    masks[0, 0] = 1.0
    found = resnet.pool(features, masks)
    for b in range(2):
        for q in range(4):
            expected = naive_attention_pool(resnet, features.dense[b], masks[b, q])
            assert torch.allclose(found[b, q].double(), expected, atol=1e-4)


def test_resnet_projects_as_attention_to_one_position(resnet: ClipResNet) -> None:
    """A pool of a 1 x 1 map gives the projection of its one positioned vector."""
    pool = resnet.clip.visual.attnpool
    side = round((pool.positional_embedding.shape[0] - 1) ** 0.5)
    grid = pool.positional_embedding[1:].unflatten(0, (side, side)).permute(2, 0, 1)
    position = F.interpolate(grid[None], size=(1, 1), mode="bilinear", align_corners=False)[0, :, 0, 0]
    features = dense_features(resnet, 1, 1)
    expected = resnet.project(features.dense[:, :, 0, 0] + position)
    found = resnet.pool(features, torch.ones(2, 1, 1, 1))[:, 0]
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_the_pool_of_an_empty_mask(convnext: ClipConvNext, resnet: ClipResNet, value: float) -> None:
    """A logit of exactly 0 is outside."""
    empty = torch.full((2, 3, 3, 4), value)
    nothing = convnext.project(torch.zeros(1, convnext.spec.dense_channels))
    assert torch.allclose(convnext.pool(dense_features(convnext), empty), nothing.expand(2, 3, -1), atol=1e-6)
    bias = resnet.clip.visual.attnpool.c_proj.bias
    assert torch.equal(resnet.pool(dense_features(resnet), empty), bias.expand(2, 3, -1))


def test_training_never_reaches_the_clip(backbone: FrozenClip) -> None:
    try:
        assert backbone.train() is backbone
        assert not any(module.training for module in backbone.clip.modules())
        assert not any(parameter.requires_grad for parameter in backbone.parameters())
        with torch.enable_grad():
            features = backbone(torch.randn(1, 3, 32, 32))
            assert not features.dense.requires_grad
            assert not backbone.pool(features, torch.ones(1, 1, 1, 1)).requires_grad
    finally:
        backbone.eval()


def test_bf16_is_of_the_image_tower_only(backbone: FrozenClip) -> None:
    images, prompts = torch.randn(1, 3, 64, 64), ["a photo of a cat."]
    exact, text = backbone(images), backbone.encode_text(prompts)
    vectors = torch.randn(3, backbone.spec.dense_channels)
    masks = torch.randn(1, 4, 2, 2)
    rounded = copy.deepcopy(backbone)
    rounded.set_image_dtype(torch.bfloat16)
    assert rounded.dtype == torch.bfloat16
    found = rounded(images)
    pairs = [
        *((found.pyramid[stride], exact.pyramid[stride]) for stride in (4, 8, 16, 32)),
        (rounded.project(vectors), backbone.project(vectors)),
        (rounded.pool(exact, masks), backbone.pool(exact, masks)),
    ]
    for ours, truth in pairs:
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, truth)
        assert float((ours - truth).norm() / truth.norm()) < 0.05
    assert torch.equal(rounded.encode_text(prompts), text)
    assert backbone.dtype == torch.float32


@pytest.mark.parametrize(
    ("log_scale", "scale"), [(0.0, 1.0), (3.0, 20.085537), (4.6, 99.484316), (9.0, 100.0)]
)
def test_the_text_scale_is_clamped(
    backbone: FrozenClip, monkeypatch: pytest.MonkeyPatch, log_scale: float, scale: float
) -> None:
    monkeypatch.setattr(backbone.clip.logit_scale, "data", torch.tensor(log_scale))
    assert backbone.text_logit_scale() == pytest.approx(scale, rel=1e-5)


def test_the_channels_of_the_published_backbones() -> None:
    expected = {
        "convnext_base_w_320": ([128, 256, 512, 1024], 640),
        "convnext_xxlarge": ([384, 768, 1536, 3072], 1024),
        "RN101": ([256, 512, 1024, 2048], 512),
        "RN50x16": ([384, 768, 1536, 3072], 768),
    }
    for architecture, (channels, embed_dim) in expected.items():
        make = clip_convnext if architecture.startswith("convnext") else clip_resnet
        with torch.device("meta"):
            spec = make(architecture=architecture).spec
        assert list(spec.channels.items()) == list(zip((4, 8, 16, 32), channels, strict=True)), architecture
        assert (spec.dense_channels, spec.embed_dim) == (channels[-1], embed_dim), architecture


def test_the_name_of_its_weights() -> None:
    with torch.device("meta"):
        assert clip_resnet(architecture="RN50", pretrained="openai").weights_name == "RN50:openai"
        assert clip_resnet(architecture="RN50").weights_name is None


@pytest.mark.parametrize("architecture", ["RN50", "ViT-B-32"])
def test_no_convnext(architecture: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        clip_convnext(architecture=architecture)
    assert str(error.value) == (
        f"'{architecture}' has no ConvNeXt image tower. For ResNets say model/backbone=clip_rn50 (or another "
        "clip_rn*); ConvNeXts are called convnext_* in open_clip."
    )


@pytest.mark.parametrize("architecture", ["convnext_base_w_320", "ViT-B-32"])
def test_no_resnet(architecture: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        clip_resnet(architecture=architecture)
    assert str(error.value) == (
        f"'{architecture}' has no CLIP ResNet image tower. Allowed are RN50, RN101, RN50x4, RN50x16 and "
        "RN50x64; for ConvNeXts say model/backbone=clip_convnext_large_d_320."
    )


def test_an_unknown_architecture() -> None:
    with pytest.raises(ConfigError, match=r"no architecture 'RN51'\. Did you mean .*RN50"):
        clip_resnet(architecture="RN51")
    with pytest.raises(ConfigError, match=r"architecture file 'none\.json' does not exist"):
        clip_convnext(architecture="none.json")


def test_weights_of_open_clip_s_layout(tmp_path: Path) -> None:
    golden = read_golden("tiny_rn")
    prefix = "backbone.clip_model."
    state = {
        key.removeprefix(prefix): value
        for key, value in golden.official_state().items()
        if key.startswith(prefix)
    }
    save_file({**state, "context_length": torch.tensor(77)}, tmp_path / "clip.safetensors")
    backbone = golden.build(tmp_path).backbone
    backbone.load_weights(tmp_path / "clip.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in backbone.clip.state_dict().items())
    del state["visual.attnpool.c_proj.bias"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(WeightsError, match=r"c_proj\.bias"):
        golden.build(tmp_path).backbone.load_weights(tmp_path / "short.safetensors")
