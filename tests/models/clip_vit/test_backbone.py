"""CLIP ViTs: features, projections and pools against open_clip's own modules; building and loading."""

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from ovseg.build import build_component
from ovseg.config import compose_config, config_groups
from ovseg.errors import ConfigError, WeightsError
from ovseg.interfaces import Backbone
from ovseg.models.clip_vit.backbone import ClipViT, clip_vit
from ovseg.models.clip_vit.last_blocks import SelfAttention
from ovseg.models.clip_vit.tower import block_layers, tokens_before_last_block
from ovseg.models.common.positions import resize_positions
from ovseg.models.common.vit import run_block
from ovseg.types import Features

VISION = {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 8, "layers": 3}
TEXT = {"width": 32, "heads": 2, "layers": 2}


def architecture(folder: Path, *, quick_gelu: bool = False, **vision: Any) -> str:
    path = folder / "tiny.json"
    config = {"embed_dim": 24, "vision_cfg": {**VISION, **vision}, "text_cfg": TEXT, "quick_gelu": quick_gelu}
    path.write_text(json.dumps(config))
    return str(path)


@pytest.fixture(params=["gelu", "quick_gelu"])
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> ClipViT:
    path = architecture(tmp_path, quick_gelu=request.param == "quick_gelu")
    made = clip_vit(architecture=path, last_block=SelfAttention())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def open_clip_s_map(clip: open_clip.CLIP, images: Tensor) -> Tensor:
    with torch.no_grad():
        return clip.visual.forward_intermediates(images, indices=1)["image_intermediates"][0]


def test_it_is_a_backbone(backbone: ClipViT) -> None:
    assert isinstance(backbone, Backbone)


def test_spec_and_features(backbone: ClipViT) -> None:
    images = torch.randn(2, 3, 64, 96)
    features = backbone(images)
    assert backbone.spec.channels == {16: 32}
    assert (backbone.spec.dense_channels, backbone.spec.embed_dim) == (32, 24)
    assert backbone.spec.pixel_mean == (122.771, 116.746, 104.094)
    assert backbone.spec.pixel_std == (68.501, 66.632, 70.323)
    assert features.dense.shape == (2, 32, 4, 6)
    assert features.pyramid == {16: features.dense}
    assert features.image_size == (64, 96)
    assert features.images is images


def test_the_map_is_open_clip_s(backbone: ClipViT) -> None:
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(backbone(images).dense, open_clip_s_map(backbone.clip, images), atol=1e-5)


def test_another_size_is_open_clip_s_with_resized_positions(backbone: ClipViT) -> None:
    images, clip = torch.randn(2, 3, 48, 96), copy.deepcopy(backbone.clip)
    resized = resize_positions(clip.visual.positional_embedding, (4, 4), (3, 6))
    clip.visual.positional_embedding = nn.Parameter(resized)
    assert torch.allclose(backbone(images).dense, open_clip_s_map(clip, images), atol=1e-5)


def test_it_projects_as_clip_its_class_token(backbone: ClipViT) -> None:
    images, tower = torch.randn(2, 3, 64, 64), backbone.clip.visual
    with torch.no_grad():
        tokens = tokens_before_last_block(tower, images, (4, 4))
        run_block(block_layers(tower.transformer.resblocks[-1]), tokens)
        expected = backbone.clip.encode_image(images)
    assert torch.allclose(backbone.project(tokens[:, 0]), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 2, 2)])
def test_projections_keep_leading_dimensions(backbone: ClipViT, shape: tuple[int, ...]) -> None:
    vectors = torch.randn(*shape, 32)
    projected = backbone.project(vectors)
    assert projected.shape == (*shape, 24)
    one_by_one = [backbone.project(vector) for vector in vectors.flatten(0, -2)]
    assert torch.allclose(projected.flatten(0, -2), torch.stack(one_by_one), atol=1e-5)


def test_a_mask_gets_the_mean_of_its_projected_tokens(backbone: ClipViT) -> None:
    dense, masks = torch.randn(2, 32, 3, 4), torch.randn(2, 5, 3, 4)
    features = Features(pyramid={16: dense}, dense=dense, image_size=(48, 64))
    found = backbone.pool(features, masks)
    for b in range(2):
        for q in range(5):
            inside = [backbone.project(dense[b, :, y, x]) for y, x in (masks[b, q] > 0).nonzero().tolist()]
            assert torch.allclose(found[b, q], torch.stack(inside).mean(0), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_number_format(backbone: ClipViT, dtype: torch.dtype) -> None:
    images = torch.randn(1, 3, 64, 64)
    exact, text = backbone(images).dense, backbone.encode_text(["a cat"])
    backbone.set_image_dtype(dtype)
    rough = backbone(images).dense
    assert backbone.dtype == dtype
    assert rough.dtype == backbone.project(rough.movedim(1, -1)).dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert backbone.clip.visual.ln_pre.weight.dtype == torch.float32
    assert torch.equal(backbone.encode_text(["a cat"]), text)


def test_the_encoder_in_the_last_block_gets_the_number_format(tmp_path: Path) -> None:
    (tmp_path / "dino.json").write_text(json.dumps({"embed_dim": 32, "depth": 1, "num_heads": 2}))
    encoder = {"name": "dino", "architecture": str(tmp_path / "dino.json"), "pretrained": None}
    node = {
        "name": "clip_vit",
        "architecture": architecture(tmp_path),
        "last_block": {"name": "proxy", "encoder": encoder},
    }
    backbone = build_component("backbones", node)
    backbone.set_image_dtype(torch.bfloat16)
    assert backbone.last_block.encoder.vit.blocks[0].attn.qkv.weight.dtype == torch.bfloat16


def test_weights_through_a_file(backbone: ClipViT, tmp_path: Path) -> None:
    images = torch.randn(1, 3, 64, 64)
    torch.save(backbone.clip.state_dict(), tmp_path / "clip.pt")
    path = architecture(tmp_path, quick_gelu=isinstance(_activation(backbone), QuickGELU))
    with torch.device("meta"):
        loaded = clip_vit(architecture=path, last_block=SelfAttention(), pretrained=str(tmp_path / "clip.pt"))
    loaded.load_weights(Path(loaded.weights_name))
    assert torch.equal(loaded(images).dense, backbone(images).dense)


def test_weights_of_another_size(backbone: ClipViT, tmp_path: Path) -> None:
    torch.save(backbone.clip.state_dict(), tmp_path / "clip.pt")
    other = clip_vit(architecture=architecture(tmp_path, layers=2), last_block=SelfAttention())
    with pytest.raises(WeightsError, match=r"resblocks\.2"):
        other.load_weights(tmp_path / "clip.pt")


@pytest.mark.parametrize("size", [(64, 70), (20, 64), (0, 64)])
def test_a_picture_that_patches_do_not_fill(backbone: ClipViT, size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError) as error:
        backbone(torch.zeros(1, 3, *size))
    assert f"patches of 16 x 16 pixels and was given {size[0]} x {size[1]}. Both sides" in str(error.value)


@pytest.mark.parametrize("name", ["RN50", "convnext_base"])
def test_an_architecture_that_is_no_vit(name: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        clip_vit(architecture=name, last_block=SelfAttention())
    assert str(error.value).startswith(f"'{name}' has no ViT image tower. For ConvNeXts say")


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"attentional_pool": True}, "it pools by attention"),
        ({"pool_type": "avg"}, "it pools its tokens by 'avg'"),
        ({"final_ln_after_pool": True}, "it pools before its last norm"),
        ({"patch_dropout": 0.5}, "it drops patches"),
        ({"no_ln_pre": True}, "it has no first norm"),
        ({"ls_init_value": 0.1}, "its blocks scale their branches"),
        ({"layers": 1}, "it has a single block"),
        ({"act_kwargs": {"approximate": "tanh"}}, "its activation is GELU"),
    ],
)
def test_a_vit_that_differs(vision: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        clip_vit(architecture=architecture(tmp_path, **vision), last_block=SelfAttention())
    assert f"image tower is not supported: {reason}" in str(error.value)
    assert "ViT-B-16, ViT-L-14 and ViT-H-14" in str(error.value)


@pytest.mark.parametrize(
    ("name", "tag", "quick"),
    [
        ("ViT-B-16", "openai", True),
        ("ViT-B-16", "metaclip_fullcc", True),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-B-16", None, False),
        ("ViT-B-16-quickgelu", "metaclip_fullcc", True),
    ],
)
def test_the_activation_is_that_of_the_weights(name: str, tag: str | None, quick: bool) -> None:
    with torch.device("meta"):
        backbone = clip_vit(architecture=name, last_block=SelfAttention(), pretrained=tag)
    assert isinstance(_activation(backbone), QuickGELU) == quick
    assert backbone.weights_name == (f"{name}:{tag}" if tag else None)


SIZES = {
    "clip_vit_b16": (16, 768, 512, 12, 12),
    "clip_vit_l14": (14, 1024, 768, 24, 16),
    "clip_vit_h14": (14, 1280, 1024, 32, 16),
    "clip_vit_b16_metaclip": (16, 768, 512, 12, 12),
    "clip_vit_l14_metaclip": (14, 1024, 768, 24, 16),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_shipped_configs(name: str) -> None:
    """Facts from the papers: patch, width, text space, blocks, heads."""
    node = compose_model_part("model/backbone", name)
    with torch.device("meta"):
        backbone = build_component("backbones", node)
    patch, width, embed, layers, heads = SIZES[name]
    blocks = backbone.clip.visual.transformer.resblocks
    assert backbone.spec.channels == {patch: width}
    assert backbone.spec.embed_dim == embed
    assert (len(blocks), blocks[0].attn.num_heads) == (layers, heads)
    assert isinstance(_activation(backbone), QuickGELU) == (name != "clip_vit_h14")
    assert (backbone.last_block.beta, backbone.last_block.gamma) == (1.2, 3.0)
    assert backbone.last_block.encoder.weights_name == "dino_vitb16"


def test_every_published_vit_is_covered_here() -> None:
    vits = {name for name in config_groups()["model/backbone"] if name.startswith("clip_vit")}
    assert vits - {"clip_vit_toyworld"} == set(SIZES)


@pytest.mark.parametrize("name", ["self_attention", "value", "correlative", "neighbour", "proxy"])
def test_last_blocks_are_chosen_by_name(name: str) -> None:
    node = compose_model_part("model/backbone", "clip_vit_b16", f"model/backbone/last_block={name}")
    assert node["last_block"]["name"] == name
    with torch.device("meta"):
        build_component("backbones", node)


def compose_model_part(group: str, name: str, *overrides: str) -> dict[str, Any]:
    node = compose_config(None, [f"+{group}={name}", *overrides])
    for step in group.split("/"):
        node = node[step]
    return dict(node)


def _activation(backbone: ClipViT) -> nn.Module:
    return backbone.clip.visual.transformer.resblocks[-1].mlp.gelu
