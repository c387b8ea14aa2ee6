"""DINO against timm's own forward pass; its files, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_trident import read_golden
from torch import Tensor

from ovseg.build import build_component
from ovseg.config import compose_config
from ovseg.errors import ConfigError, WeightsError
from ovseg.interfaces import ImageEncoder, TextEncoder
from ovseg.models.dino.encoder import Dino, dino

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 16, "img_size": 64}


def architecture(folder: Path, **arguments: Any) -> str:
    path = folder / "dino.json"
    path.write_text(json.dumps({**TINY, **arguments}))
    return str(path)


@pytest.fixture
def encoder(tmp_path: Path) -> Dino:
    made = dino(architecture=architecture(tmp_path), pretrained=None)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def test_it_is_an_image_encoder_and_no_more(encoder: Dino) -> None:
    assert isinstance(encoder, ImageEncoder)
    assert not isinstance(encoder, TextEncoder)


def test_features(encoder: Dino) -> None:
    images = torch.randn(2, 3, 64, 96)
    features = encoder(images)
    assert features.dense.shape == (2, 32, 4, 6)
    assert features.pyramid == {16: features.dense}
    assert features.image_size == (64, 96)
    assert (encoder.spec.channels, encoder.spec.dense_channels) == ({16: 32}, 32)
    assert encoder.spec.pixel_mean == (123.675, 116.28, 103.53)
    assert encoder.spec.pixel_std == (58.395, 57.12, 57.375)


def test_features_are_timm_s(encoder: Dino) -> None:
    """At the trained size, where nothing is resized."""
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = encoder.vit.forward_features(images)[:, 1:]
    assert torch.allclose(encoder(images).dense.flatten(2).transpose(1, 2), expected, atol=1e-5)


def test_bf16(encoder: Dino) -> None:
    images = torch.randn(1, 3, 64, 96)
    exact = encoder(images).dense
    encoder.set_image_dtype(torch.bfloat16)
    rough = encoder(images).dense
    assert rough.dtype == encoder.vit.norm.weight.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_picture_that_patches_do_not_fill(encoder: Dino) -> None:
    with pytest.raises(ConfigError, match=r"^DINO cuts pictures into patches of 16 x 16 .* given 64 x 70"):
        encoder(torch.zeros(1, 3, 64, 70))


def published(state: dict[str, Tensor]) -> dict[str, Any]:
    return state


def trained(state: dict[str, Tensor]) -> dict[str, Any]:
    """As DINO's own training saves its teacher."""
    teacher = {f"module.backbone.{key}": value for key, value in state.items()}
    return {"teacher": {**teacher, "module.head.mlp.0.weight": torch.zeros(2, 2)}, "epoch": 3}


@pytest.mark.parametrize("layout", [published, trained])
def test_files(encoder: Dino, tmp_path: Path, layout: Any) -> None:
    images = torch.randn(1, 3, 64, 64)
    torch.save(layout(encoder.vit.state_dict()), tmp_path / "dino.pth")
    with torch.device("meta"):
        loaded = dino(architecture=architecture(tmp_path), pretrained=str(tmp_path / "dino.pth"))
    loaded.load_weights(Path(loaded.weights_name))
    assert torch.equal(loaded(images).dense, encoder(images).dense)


def test_a_file_of_another_size(encoder: Dino, tmp_path: Path) -> None:
    torch.save(encoder.vit.state_dict(), tmp_path / "dino.pth")
    other = dino(architecture=architecture(tmp_path, depth=3), pretrained=None)
    with pytest.raises(WeightsError, match=r"blocks\.2"):
        other.load_weights(tmp_path / "dino.pth")


def test_the_golden_file_s_keys_are_the_published_ones() -> None:
    keys = set(read_golden("a").weights("dino"))
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "norm.bias"} <= keys
    assert {"blocks.0.attn.qkv.bias", "blocks.0.mlp.fc1.weight"} <= keys


def test_the_shipped_config() -> None:
    group = "model/backbone/last_block/encoder"
    node = compose_config(None, [f"+{group}=dino_vitb16"])
    for step in group.split("/"):
        node = node[step]
    with torch.device("meta"):
        encoder = build_component("backbones", dict(node))
    assert encoder.spec.channels == {16: 768}
    assert (len(encoder.vit.blocks), encoder.vit.blocks[0].attn.num_heads) == (12, 12)
    assert encoder.vit.pos_embed.shape == (1, 197, 768)
    assert encoder.vit.norm.eps == encoder.vit.blocks[0].norm1.eps == 1e-6
    assert encoder.weights_name == "dino_vitb16"


@pytest.mark.parametrize("name", ["vit_base_patch16_224.dinno", "vit_bse_patch16", "hf-hub:owner/model"])
def test_an_unknown_architecture(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        dino(architecture=name)
    assert str(error.value).startswith(f"timm has no architecture '{name}'.")
    assert "vit_small_patch16_224.dino, vit_small_patch8_224.dino, vit_base_patch16_224.dino" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "it is a ResNet"),
        ("vit_base_patch16_siglip_224", "it has no class token"),
        ("vit_base_patch16_clip_224", "it has a norm before its blocks"),
        ("vit_small_patch14_reg4_dinov2", "it has no class token, or others beside it"),
        ("vit_small_patch14_dinov2", "its blocks are of another kind"),
    ],
)
def test_an_architecture_that_differs(name: str, reason: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        dino(architecture=name)
    assert str(error.value).startswith(f"'{name}' is not supported as DINO: {reason}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "must map keyword arguments of timm's VisionTransformer to numbers; it has [1]"),
        ('{"widht": 3}', "it has widht. For example"),
        ('{"embed_dim": 30, "num_heads": 4}', "timm makes no VisionTransformer of"),
        ('{"embed_dim": 32, "num_heads": 4, "depth": 0}', "its blocks are of another kind"),
    ],
)
def test_a_damaged_file(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ConfigError) as error:
        dino(architecture=str(tmp_path / "bad.json"))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The architecture file '.*none\.json' does not exist"):
        dino(architecture=str(tmp_path / "none.json"))


def test_an_architecture_that_comes_with_ovseg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovseg.weights.shipped.FOLDER", tmp_path)
    file = Path(architecture(tmp_path))
    assert (
        dino(architecture=file.stem, pretrained=None).spec
        == dino(architecture=str(file), pretrained=None).spec
    )
