"""Every registered name is shipped as YAML, has a small stand-in, and is what its registry says."""

import pytest
import torch
from helpers.tiny_models import REGISTRY_OF_KEY, TINY, shipped_model, shipped_part

from ovseg.build import build_component, check_component
from ovseg.config import config_groups
from ovseg.models.common.text import TextCache
from ovseg.registry import REGISTRIES
from ovseg.types import BackboneSpec

GROUPS = config_groups()
REGISTRY_OF_GROUP = {
    group: REGISTRY_OF_KEY[group.split("/")[-1]] for group in GROUPS if group.startswith("model/")
} | {group: f"{group}s" for group in ("dataset", "evaluator") if group in GROUPS}
SHIPPED = [(group, name) for group in REGISTRY_OF_GROUP for name in GROUPS[group]]
SPEC = BackboneSpec(
    channels={4: 2, 8: 4, 16: 8, 32: 16},
    dense_channels=16,
    embed_dim=6,
    pixel_mean=(0.0, 0.0, 0.0),
    pixel_std=(1.0, 1.0, 1.0),
)


def node_of(group, name):
    """The node of a file; evaluators are listed under a key of their own, so that several can be chosen."""
    node = shipped_part(group, name)
    return node if "name" in node else next(iter(node.values()))


@pytest.mark.parametrize("registry", TINY)
def test_every_name_has_a_small_stand_in(registry):
    missing = set(REGISTRIES[registry].names()) - set(TINY[registry])
    assert not missing, f"tests/helpers/tiny_models.py: TINY['{registry}'] lacks {sorted(missing)}."
    stale = set(TINY[registry]) - set(REGISTRIES[registry].names())
    assert not stale, (
        f"tests/helpers/tiny_models.py: TINY['{registry}'] has {sorted(stale)}, registered nowhere."
    )


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_name_is_shipped_as_yaml(registry):
    if registry == "methods":
        used = {shipped_model(name)["name"] for name in GROUPS["model"]}
    else:
        groups = [group for group, kind in REGISTRY_OF_GROUP.items() if kind == registry]
        used = {node_of(group, name)["name"] for group in groups for name in GROUPS[group]}
    assert set(REGISTRIES[registry].names()) <= used


@pytest.mark.parametrize("name", GROUPS["model"])
def test_models_fit_their_constructors(name):
    node = {key: value for key, value in shipped_model(name).items() if key != "weights"}
    assert check_component("methods", node, path="model") == []


@pytest.mark.parametrize(("group", "name"), SHIPPED)
def test_parts_fit_their_constructors(group, name):
    assert check_component(REGISTRY_OF_GROUP[group], node_of(group, name), path=group) == []


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, name in SHIPPED if group.startswith("model/")]
)
def test_parts_are_built_without_memory(group, name):
    """At their full size; building checks the protocol."""
    with torch.device("meta"):
        part = build_component(REGISTRY_OF_GROUP[group], node_of(group, name), [SPEC], path=group)
    if isinstance(part, torch.nn.Module):
        assert all(tensor.is_meta for tensor in part.state_dict().values())


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_description_is_one_line(registry):
    for name in REGISTRIES[registry].names():
        description = REGISTRIES[registry].entry(name).description
        assert description
        assert "\n" not in description
        assert len(description) <= 90


def test_text_cache_is_provided_by_its_name():
    """`ovseg.build` knows the class by name alone, so a move of it must not go unseen."""
    from ovseg.build import PROVIDED

    assert f"{TextCache.__module__}:{TextCache.__qualname__}" in PROVIDED
