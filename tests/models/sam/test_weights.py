"""A checkpoint of another SAM is named as what it is."""

from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry

from ovseg.errors import ConfigError, WeightsError
from ovseg.models.sam.architecture import SIZES, SamSize, build_parts, sam_size
from ovseg.models.sam.build import sam
from ovseg.models.sam.weights import load_sam
from ovseg.weights.zoo import ZOO


def empty_file(size: str, folder: Path) -> Path:
    """A file with the keys of a published size, whose tensors are as small as its width allows."""
    embed_dim, depth = SIZES[size].embed_dim, SIZES[size].depth
    state = {"image_encoder.pos_embed": torch.zeros(1, 1, 1, embed_dim)}
    state |= {f"image_encoder.blocks.{block}.norm1.weight": torch.zeros(1) for block in range(depth)}
    torch.save(state, folder / "some.pth")
    return folder / "some.pth"


@pytest.mark.parametrize(("given", "wanted"), [("vit_l", "vit_b"), ("vit_h", "vit_b"), ("vit_b", "vit_h")])
def test_another_published_size(tmp_path: Path, given: str, wanted: str) -> None:
    path = empty_file(given, tmp_path)
    with pytest.raises(WeightsError) as caught:
        load_sam(torch.nn.Module(), SIZES[wanted], path)
    text = str(caught.value)
    assert f"some.pth holds SAM {given} ({SIZES[given].depth} blocks of width" in text
    assert f"but the model is SAM {wanted}" in text
    assert f"write model/mask_generator=sam_{given} (architecture: {given})" in text
    assert f"write checkpoint=sam_{wanted}, or the path of such a file" in text


def test_a_size_that_was_never_published(tmp_path: Path) -> None:
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 1, 1, 5)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"SAM of no published size \(0 blocks of width 5\)"):
        load_sam(torch.nn.Module(), SIZES["vit_b"], tmp_path / "other.pth")


def test_a_file_that_is_no_sam(tmp_path: Path) -> None:
    torch.save({"blocks.0.attn.qkv.weight": torch.zeros(1)}, tmp_path / "dino.pth")
    with torch.device("meta"):
        model = sam()
    with pytest.raises(WeightsError, match=r"dino\.pth does not fit Sam"):
        model.load_weights(tmp_path / "dino.pth")


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_are_the_packages(size: str) -> None:
    with torch.device("meta"):
        package = sam_model_registry[size]()
        parts = build_parts(SIZES[size])
    ours = torch.nn.ModuleDict(
        dict(zip(("image_encoder", "prompt_encoder", "mask_decoder"), parts, strict=True))
    )
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in package.state_dict().items()
    }
    blocks = zip(parts[0].blocks, package.image_encoder.blocks, strict=True)
    assert all(
        (a.window_size, a.attn.num_heads, a.norm1.eps) == (b.window_size, b.attn.num_heads, b.norm1.eps)
        for a, b in blocks
    )
    assert parts[2].transformer.num_heads == package.mask_decoder.transformer.num_heads
    assert parts[1].mask_input_size == package.prompt_encoder.mask_input_size


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_its_checkpoint(size: str) -> None:
    (remote,) = ZOO[f"sam_{size}"].remotes
    assert remote.url.startswith(f"https://dl.fbaipublicfiles.com/segment_anything/sam_{size}_")
    assert ZOO[f"sam_{size}"].licence == "Apache-2.0"


def test_an_architecture_that_comes_with_ovseg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovseg.weights.shipped.FOLDER", tmp_path)
    (tmp_path / "own.json").write_text(
        '{"embed_dim": 16, "depth": 2, "num_heads": 2, "global_attn": [1], "prompt_dim": 32}'
    )
    assert sam_size("own") == SamSize(embed_dim=16, depth=2, num_heads=2, global_attn=(1,), prompt_dim=32)


def test_an_unknown_architecture() -> None:
    with pytest.raises(ConfigError, match=r"no SAM architecture 'vit_x'.*vit_b, vit_l, vit_h"):
        sam(architecture="vit_x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"file '.*sizes\.json' does not exist"),
        ("{", r"cannot be used: .*It must be a JSON object with some of: embed_dim, depth"),
        ("[]", r"cannot be used"),
        (
            '{"embed_dim": 4, "depth": 1, "num_heads": 2, "global_attn": [0], "deep": 1}',
            r"cannot be used: .*'deep'",
        ),
        ('{"embed_dim": 6, "depth": 2, "num_heads": 2, "global_attn": [0]}', r"must hold the last block, 1"),
        (
            '{"embed_dim": 5, "depth": 1, "num_heads": 2, "global_attn": [0]}',
            r"must be a multiple of num_heads",
        ),
        (
            '{"embed_dim": 4, "depth": 1, "num_heads": 2, "global_attn": [0], "image_size": 100}',
            r"image_size=100 must be a multiple of 16",
        ),
    ],
)
def test_a_damaged_architecture_file(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "sizes.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        sam(architecture=str(path))
