"""Which weights the parts of a config ask for."""

import pytest

from ovseg.config import compose_model
from ovseg.weights import zoo
from ovseg.weights.parts import part_weights, published_name


@pytest.mark.parametrize(
    ("pretrained", "name"),
    [
        ("openai", "ViT-B-16:openai"),
        ("dino_vitb16", "dino_vitb16"),
        ("weights/clip.pt", "weights/clip.pt"),
        ("clip.safetensors", "clip.safetensors"),
        (None, None),
    ],
)
def test_published_names(pretrained: str | None, name: str | None) -> None:
    assert published_name("ViT-B-16", pretrained) == name


def test_the_parts_of_a_config_in_its_order() -> None:
    assert sorted(part_weights(compose_model("trident"))) == ["ViT-B-16:openai", "dino_vitb16", "sam_vit_b"]
    assert list(part_weights({"backbone": {"architecture": "a", "pretrained": None}, "x": 1})) == []


def test_every_part_of_a_shipped_model_has_listed_weights() -> None:
    for model in ("trident_l14", "trident_h14", "sam_convclip", "sclip"):
        for name in part_weights(compose_model(model)):
            assert name in zoo.ZOO, (model, name)
