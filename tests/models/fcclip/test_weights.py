"""Official checkpoints: names, completeness, and what is said when they do not fit."""

import json
from pathlib import Path

import pytest
import torch
from helpers.tiny_fcclip import GOLDEN, Golden, read_golden
from safetensors.torch import save_file

from ovseg.errors import WeightsError
from ovseg.models.common.text import TextCache
from ovseg.models.fcclip.backbone import clip_convnext, clip_resnet
from ovseg.models.fcclip.classifier import FCCLIPClassifier
from ovseg.models.fcclip.mask_generator import Mask2Former
from ovseg.models.fcclip.method import FCCLIP
from ovseg.models.fcclip.weights import official_state_dict
from ovseg.run.declaration import weights_of

VARIANTS = {
    "convnext_large_d_320": "laion2b_s29b_b131k_ft_soup",
    "RN50": "openai",
    "RN101": "openai",
    "RN50x4": "openai",
    "RN50x16": "openai",
    "RN50x64": "openai",
}


@pytest.mark.parametrize(("architecture", "tag"), VARIANTS.items())
def test_keys_and_shapes_are_the_official_ones(architecture: str, tag: str) -> None:
    listed = json.loads((GOLDEN / f"state_dict_keys_{architecture}.json").read_text())["keys"]
    expected = {row["key"]: (tuple(row["shape"]), row["dtype"]) for row in listed}
    make = clip_convnext if architecture.startswith("convnext") else clip_resnet
    with torch.device("meta"):
        backbone = make(architecture=architecture, pretrained=tag)
        method = FCCLIP(
            backbone=backbone,
            mask_generator=Mask2Former(backbone=backbone.spec),
            classifier=FCCLIPClassifier(backbone=backbone.spec),
            text_cache=TextCache(None),
        )
    found = official_state_dict(method, training_classes=133)
    assert {key: (tuple(tensor.shape), str(tensor.dtype)) for key, tensor in found.items()} == expected
    trainable = {row["key"] for row in listed if row["trainable"]}
    required = {key for key, parameter in method.named_parameters() if parameter.requires_grad}
    assert len(required) == len(trainable)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return read_golden("tiny")


def fill(golden: Golden, state: dict[str, torch.Tensor], folder: Path, name: str = "weights.pth") -> FCCLIP:
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    method = golden.build(folder)
    method.load_weights(path)
    return method


def test_safetensors_and_pth_fill_the_same(golden: Golden, tmp_path: Path) -> None:
    state = golden.official_state()
    one = fill(golden, state, tmp_path, "a.safetensors").state_dict()
    other = fill(golden, {"model": state}, tmp_path, "b.pth").state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not any(tensor.is_meta for tensor in one.values())


def test_no_gradient_ever_reaches_the_clip(golden: Golden, tmp_path: Path) -> None:
    method = fill(golden, golden.official_state(), tmp_path).train()
    assert not any(parameter.requires_grad for parameter in method.backbone.parameters())
    assert all(parameter.requires_grad for parameter in method.mask_generator.parameters())
    assert not any(module.training for module in method.backbone.clip.modules())


def test_a_checkpoint_without_clip_takes_the_published_one(
    golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = golden.official_state()
    prefix = "backbone.clip_model."
    clip = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    head = {key: value for key, value in state.items() if not key.startswith(prefix)}
    save_file(clip, tmp_path / "clip.safetensors")
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tmp_path / "clip.safetensors"

    monkeypatch.setattr("ovseg.models.fcclip.weights.fetch", fetch)
    torch.save({"model": head}, tmp_path / "head.pth")
    method = golden.build(tmp_path)
    method.backbone.weights_name = "convnext_tinytest:some_tag"
    method.load_weights(tmp_path / "head.pth")
    assert asked == ["convnext_tinytest:some_tag"]
    assert method.completed_from == ("convnext_tinytest:some_tag",)
    whole = fill(golden, state, tmp_path).state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in method.state_dict().items())


def test_what_is_declared_of_weights_changes_with_the_clip_that_completed_them(
    golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run would go on with the records of another CLIP."""
    path, clip = tmp_path / "weights.pth", tmp_path / "clip.safetensors"
    method = fill(golden, golden.official_state(), tmp_path)
    alone = weights_of(method, str(path))
    assert set(alone["files"]) == {str(path)}
    monkeypatch.setattr(FCCLIP, "completed_from", property(lambda _: (str(clip),)))
    digests = []
    for content in (b"one", b"another"):
        clip.write_bytes(content)
        declared = weights_of(method, str(path))
        assert set(declared["files"]) == {str(path), str(clip)}
        digests.append(declared["sha256"])
    assert len({alone["sha256"], *digests}) == 3


def test_a_checkpoint_without_clip_says_what_to_do(golden: Golden, tmp_path: Path) -> None:
    head = {key: v for key, v in golden.official_state().items() if not key.startswith("backbone.")}
    with pytest.raises(WeightsError, match=r"holds no frozen CLIP .*model\.backbone\.pretrained=TAG"):
        fill(golden, head, tmp_path)


def test_a_mismatch_lists_every_kind_of_key(golden: Golden, tmp_path: Path) -> None:
    state = golden.official_state()
    del state["sem_seg_head.predictor.query_feat.weight"]
    state["sem_seg_head.predictor.stranger.weight"] = torch.zeros(2)
    state["void_embedding.weight"] = torch.zeros(1, 32)
    with pytest.raises(WeightsError) as error:
        fill(golden, state, tmp_path)
    message = str(error.value)
    assert "query_feat.weight" in message
    assert "stranger.weight" in message
    assert "void_embedding.weight" in message
    assert "1, 32" in message


def test_pixel_mean_and_attention_mask_are_ignored(golden: Golden, tmp_path: Path) -> None:
    state = golden.official_state()
    extra = {"pixel_mean": torch.zeros(3, 1, 1), "backbone.clip_model.attn_mask": torch.zeros(77, 77)}
    fill(golden, {**state, **extra}, tmp_path)
