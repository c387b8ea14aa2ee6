"""Every file of conf/ composes, says nothing unknown, and names what exists."""

from functools import cache

import pytest
from omegaconf import OmegaConf

from ovseg.build import check_component
from ovseg.config import compose_config, conf_dir, config_groups, strict
from ovseg.config import compose_model as compose_model_anew
from ovseg.schema import SCHEMAS, PredictConfig
from ovseg.vocabulary import load_vocabulary

GIVEN = ["input=a.jpg", "output=out"]
GROUPS = config_groups()
ROOTS = sorted(file.stem for file in conf_dir().glob("*.yaml"))
PARTS = {
    "model/backbone": "backbones",
    "model/backbone/last_block": "last_blocks",
    "model/backbone/last_block/encoder": "backbones",
    "model/mask_generator": "mask_generators",
    "model/classifier": "classifiers",
}


# Composing takes a quarter of a second; nobody here changes what comes out.
compose_model = cache(compose_model_anew)


def options(group):
    return GROUPS.get(group, [])


@cache
def composed(*overrides):
    return strict(compose_config("predict", [*GIVEN, *overrides]), PredictConfig)


def test_every_root_has_a_schema():
    assert set(SCHEMAS) == set(ROOTS)


def test_every_group_is_covered_here():
    assert set(GROUPS) == {"model", "vocabulary", "runtime", "recipe", "experiment", *PARTS}


@pytest.mark.parametrize("name", options("model"))
def test_models(name):
    node = dict(compose_model(name))
    assert isinstance(node.pop("weights"), str)
    assert check_component("methods", node, path="model") == []
    assert composed(f"model={name}").model.keys() == {*node, "weights"}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in PARTS for name in options(group)])
def test_parts(group, name):
    node = OmegaConf.to_container(compose_config(None, [f"+{group}={name}"]))
    for step in group.split("/"):
        node = node[step]
    assert check_component(PARTS[group], node, path=group) == []


@pytest.mark.parametrize("name", options("vocabulary"))
def test_vocabularies(name):
    settings = composed(f"vocabulary={name}").vocabulary
    assert settings.name == name
    assert len(load_vocabulary(settings.name, names=settings.names, templates=settings.templates)) > 1


@pytest.mark.parametrize("name", options("runtime"))
def test_runtimes(name):
    assert composed(f"runtime={name}").runtime.problems() == []


@pytest.mark.parametrize("name", options("recipe"))
def test_recipes(name):
    by_hand = composed(f"recipe={name}")
    if name == "none":
        return
    method, vocabulary = name.split("-")
    assert vocabulary in options("vocabulary")
    variants = [model for model in options("model") if compose_model(model)["name"] == method]
    for model in (variants[0], variants[-1]):
        found = composed(f"model={model}", f"vocabulary={vocabulary}")
        assert found.tasks == by_hand.tasks
        node = {key: value for key, value in found.model.items() if key != "weights"}
        assert check_component("methods", node, path="model") == []
    assert (by_hand.tasks, by_hand.model) != (composed().tasks, composed().model)


@pytest.mark.parametrize("name", options("experiment"))
def test_experiments(name):
    settings = composed(f"experiment={name}")
    model, vocabulary = name.split("-")
    assert settings.vocabulary.name == vocabulary
    assert settings.model["weights"] == compose_model(model)["weights"]
    assert settings == composed(f"model={model}", f"vocabulary={vocabulary}")
    head = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    assert f"experiment={name} " in head
    for word in ("command", "cost", "expected", "source"):
        assert f"#   {word} " in head


def test_the_official_test_sizes():
    """From FC-CLIP's own configs: 1024/2560 for street scenes, 800/1333 elsewhere."""
    for vocabulary in options("vocabulary"):
        model = composed("model=fcclip", f"vocabulary={vocabulary}").model
        street = vocabulary in ("cityscapes", "mapillary_vistas")
        assert (model["short_side"], model["long_side"]) == ((1024, 2560) if street else (800, 1333))


@pytest.mark.parametrize("file", sorted(conf_dir().rglob("*.yaml")), ids=lambda file: file.stem)
def test_no_file_can_name_code_to_run(file):
    assert "_target_" not in file.read_text()
