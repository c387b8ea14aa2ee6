"""Checking and building with parts made up here, so that each rule stands alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch

import ovseg.registry
from ovseg.build import build_component, check_component
from ovseg.errors import ConfigError, PluginError
from ovseg.interfaces import Backbone, Classifier, MaskGenerator
from ovseg.models.common.text_cache import TextCache
from ovseg.types import BackboneSpec


def spec_of(width):
    return BackboneSpec(
        channels={4: width},
        dense_channels=width,
        embed_dim=2,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
    )


class Stem:
    """A backbone in form only."""

    built = 0
    weights_name = None

    def __init__(self, *, width: int, weights_file: Path | None = None) -> None:
        Stem.built += 1
        self.spec = spec_of(width)
        self.weights_file = weights_file

    def __call__(self, images): ...
    def project(self, vectors): ...
    def pool(self, features, masks): ...
    def text_logit_scale(self): ...
    def encode_text(self, prompts): ...
    def text_fingerprint(self): ...
    def load_weights(self, path): ...
    def set_image_dtype(self, dtype): ...


class Proposer:
    def __init__(self, *, backbone: BackboneSpec, sizes: tuple[int, ...] = (1, 2)) -> None:
        self.width = backbone.dense_channels
        self.sizes = sizes

    def __call__(self, features, prompts=None): ...


class Namer:
    def __init__(
        self, *, trunk: BackboneSpec, kind: Literal["a", "b"] = "a", extra: Classifier | None = None
    ) -> None:
        self.width = trunk.dense_channels
        self.kind, self.extra = kind, extra

    def __call__(self, backbone, features, text, proposals=None): ...


@dataclass(frozen=True)
class Window:
    size: int
    stride: int


class Whole:
    def __init__(
        self,
        *,
        backbone: Backbone,
        mask_generator: MaskGenerator,
        text_cache: TextCache,
        classifier: Classifier | None = None,
        window: Window | None = None,
        scale: float = 1.0,
    ) -> None:
        self.parts = (backbone, mask_generator, classifier)
        self.text_cache, self.window, self.scale = text_cache, window, scale

    def predict_batch(self, images, vocabulary, *, tasks): ...
    def load_weights(self, path): ...
    def prepare(self, *, device, precision): ...


class TwoTrunks(Whole):
    def __init__(self, *, trunk: Backbone, other: Backbone, classifier: Classifier) -> None:
        self.parts = (trunk, other, classifier)


class Loose:
    def __init__(self, *, width: int = 1, **kwargs: int) -> None: ...


class Positional:
    def __init__(self, width: int) -> None: ...


class EyesOnly:
    """An image encoder without a text space."""

    weights_name = None
    spec = spec_of(3)

    def __call__(self, images): ...
    def load_weights(self, path): ...
    def set_image_dtype(self, dtype): ...


class NoBackbone:
    def __init__(self, *, width: int = 1) -> None: ...


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    for kind, name, part in (
        ("methods", "whole", Whole),
        ("methods", "two_trunks", TwoTrunks),
        ("backbones", "stem", Stem),
        ("backbones", "loose", Loose),
        ("backbones", "positional", Positional),
        ("backbones", "no_backbone", NoBackbone),
        ("backbones", "eyes_only", EyesOnly),
        ("mask_generators", "proposer", Proposer),
        ("classifiers", "namer", Namer),
    ):
        registry = ovseg.registry.REGISTRIES[kind]
        monkeypatch.setattr(registry, "_run_time", dict(registry._run_time))
        registry.register(name, part)
    Stem.built = 0


def node(**changes):
    return {
        "name": "whole",
        "backbone": {"name": "stem", "width": 8},
        "mask_generator": {"name": "proposer"},
        "classifier": {"name": "namer"},
        **changes,
    }


def faults(**changes):
    return check_component("methods", node(**changes), path="model")


def test_a_right_node_builds_with_its_parts():
    cache = TextCache(None)
    made = build_component("methods", node(scale=2, window={"size": 3, "stride": 1}), [cache])
    backbone, proposer, namer = made.parts
    assert isinstance(backbone, Stem)
    assert (proposer.width, namer.width) == (8, 8)
    assert made.text_cache is cache
    assert made.window == Window(3, 1)
    assert made.scale == 2.0
    assert Stem.built == 1


def test_values_are_converted_by_their_annotation():
    made = build_component("backbones", {"name": "stem", "width": "8", "weights_file": "a/b"})
    assert made.spec.dense_channels == 8
    assert made.weights_file == Path("a/b")
    made = build_component("mask_generators", {"name": "proposer", "sizes": [4, 5]}, [spec_of(3)])
    assert made.sizes == (4, 5)
    assert made.width == 3


def test_an_optional_part_may_be_null_or_absent():
    absent = node()
    del absent["classifier"]
    assert build_component("methods", absent, [TextCache(None)]).parts[2] is None
    assert build_component("methods", node(classifier=None), [TextCache(None)]).parts[2] is None
    assert faults(backbone=None) == [
        "model.backbone=None: must be a mapping that says the name of a backbone"
    ]


def test_a_nested_part_sees_the_backbone_beside_its_parent():
    made = build_component(
        "methods",
        node(classifier={"name": "namer", "extra": {"name": "namer", "kind": "b"}}),
        [TextCache(None)],
    )
    assert made.parts[2].extra.width == 8
    assert made.parts[2].extra.kind == "b"


def test_with_two_backbones_the_name_of_the_argument_decides():
    made = build_component(
        "methods",
        {
            "name": "two_trunks",
            "other": {"name": "stem", "width": 3},
            "trunk": {"name": "stem", "width": 5},
            "classifier": {"name": "namer"},
        },
    )
    assert made.parts[2].width == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"scael": 1},
            "model.scael: 'whole' has no argument 'scael'. Did you mean 'scale'? Known: backbone, "
            "mask_generator, classifier, window, scale.",
        ),
        (
            {"backbone": {"name": "stem", "widht": 8, "width": 1}},
            "model.backbone.widht: 'stem' has no argument 'widht'. Did you mean 'width'?",
        ),
        ({"backbone": {"name": "stem"}}, "model.backbone.width is missing; 'stem' needs it."),
        (
            {"backbone": {"name": "stme", "width": 8}},
            "model.backbone.name=stme: There is no backbone named 'stme'. Did you mean 'stem'?",
        ),
        ({"backbone": {"width": 8}}, "model.backbone.name is missing. Backbones: "),
        ({"backbone": "stem"}, "model.backbone='stem': must be a mapping that says the name of a backbone"),
        ({"backbone": {"name": "namer"}}, "model.backbone.name=namer: There is no backbone named 'namer'."),
        (
            {"backbone": {"name": "stem", "width": "wide"}},
            "model.backbone.width='wide': input should be a valid integer",
        ),
        (
            {"backbone": {"name": "stem", "width": None}},
            "model.backbone.width=None: input should be a valid integer",
        ),
        (
            {"mask_generator": {"name": "proposer", "sizes": [1, "x"]}},
            "model.mask_generator.sizes[1]='x': input should be a valid integer",
        ),
        (
            {"classifier": {"name": "namer", "kind": "c"}},
            "model.classifier.kind='c': input should be 'a' or 'b'",
        ),
        (
            {"text_cache": True},
            "model.text_cache is not written in a config: it is the run's cache of text embeddings.",
        ),
        (
            {"mask_generator": {"name": "proposer", "backbone": {}}},
            "model.mask_generator.backbone is not written in a config: it is what the backbone beside it",
        ),
        ({"backbone": {"name": "loose"}}, "the argument '**kwargs: int' must be keyword-only"),
        ({"backbone": {"name": "positional", "width": 1}}, "the argument 'width: int' must be keyword-only"),
    ],
)
def test_each_fault_says_where_what_and_what_instead(changes, text):
    found = faults(**changes)
    assert len(found) == 1, found
    assert text.replace("the argument", "its argument") in found[0]


def test_all_faults_come_at_once_the_unknown_first_and_nothing_is_built():
    wrong = node(
        scale="big",
        backbone={"name": "stem", "widht": 8},
        mask_generator={"name": "proposer", "sizes": 3, "size": 4},
    )
    with pytest.raises(ConfigError) as caught:
        build_component("methods", wrong, [TextCache(None)], path="model")
    kinds = [line.split(":")[0].split(" ")[0].split("=")[0] for line in str(caught.value).splitlines()]
    assert kinds == [
        "model.backbone.widht",
        "model.mask_generator.size",
        "model.backbone.width",
        "model.mask_generator.sizes",
        "model.scale",
    ]
    assert Stem.built == 0


def test_a_part_that_needs_a_backbone_beside_it_says_so():
    two = {"name": "two_trunks", "trunk": {"name": "stem", "width": 1}, "other": {"name": "stem", "width": 1}}
    found = check_component("methods", {**two, "classifier": {"name": "namer"}})
    assert found == []
    two["classifier"] = {"name": "namer", "extra": None}
    assert check_component("methods", two) == []
    with pytest.raises(ConfigError, match="nothing here provides what the backbone beside it says"):
        build_component("classifiers", {"name": "namer"})
    with pytest.raises(ConfigError, match="text_cache: nothing here provides the run's cache"):
        build_component("methods", node())


def test_what_does_not_follow_its_interface_is_named():
    with pytest.raises(
        PluginError,
        match=r"NoBackbone is registered in backbones but is no ImageEncoder .*it lacks load_weights, ",
    ):
        build_component("backbones", {"name": "no_backbone"})
    eyes_only = {"name": "eyes_only"}
    build_component("backbones", eyes_only)
    with pytest.raises(
        ConfigError,
        match=r"model\.backbone\.name=eyes_only: this place needs a Backbone, and 'eyes_only' lacks "
        r"encode_text, pool, project, text_fingerprint, text_logit_scale\. Choose another backbone\.",
    ):
        build_component("methods", {**node(), "backbone": eyes_only}, [TextCache(None)], path="model")


def test_parts_are_built_on_the_device_that_is_set():
    with torch.device("meta"):
        made = build_component(
            "backbones", {"name": "clip_resnet", "architecture": "RN50", "pretrained": None}
        )
    assert {parameter.device.type for parameter in made.parameters()} == {"meta"}
