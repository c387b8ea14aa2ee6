"""Every file of conf/ composes, says nothing unknown, and names what exists."""

from functools import cache

import pytest
from omegaconf import OmegaConf

from ovseg.build import build_component, check_component
from ovseg.config import compose_config, conf_dir, config_groups, strict
from ovseg.config import compose_model as compose_model_anew
from ovseg.schema import SCHEMAS, EvaluateConfig, PredictConfig
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

EVALUATION = {"dataset", "evaluator"}
TRAINING = {"training"}
"""See test_training_yaml.py."""


# Composing takes a quarter of a second; nobody here changes what comes out.
compose_model = cache(compose_model_anew)


def options(group):
    return GROUPS.get(group, [])


@cache
def composed(*overrides):
    return strict(compose_config("predict", [*GIVEN, *overrides]), PredictConfig)


@cache
def evaluated(*overrides):
    return strict(compose_config("evaluate", overrides), EvaluateConfig)


def test_every_root_has_a_schema():
    assert set(SCHEMAS) == set(ROOTS)


def test_every_group_is_covered_here():
    others = {"model", "vocabulary", "runtime", "recipe", "experiment"}
    assert set(GROUPS) == {*others, *PARTS, *EVALUATION, *TRAINING}


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


@pytest.mark.parametrize("name", options("dataset"))
def test_datasets(name):
    settings = evaluated(f"dataset={name}", *(["dataset.root=x"] if name == "folder" else []))
    assert check_component("datasets", settings.dataset, path="dataset") == []
    if name in ("folder", "toyworld"):  # whose classes depend on files, or on the split
        assert settings.vocabulary.name is None
    else:
        own = build_component("datasets", settings.dataset).vocabulary
        assert settings.vocabulary.name == own.name
        said = load_vocabulary(settings.vocabulary.name, names=settings.vocabulary.names)
        assert [entry.id for entry in said.classes] == [entry.id for entry in own.classes]


@pytest.mark.parametrize("name", options("evaluator"))
def test_evaluators(name):
    nodes = dict(evaluated(f"evaluator=[{name}]").evaluator)
    assert nodes.pop("auto", False) == (name == "auto")
    assert set(nodes) == (set(options("evaluator")) - {"auto"} if name == "auto" else {name})
    for node in nodes.values():
        assert check_component("evaluators", node, path="evaluator") == []


def test_a_data_set_brings_the_method_s_settings():
    assert evaluated("model=fcclip", "dataset=cityscapes").model["short_side"] == 1024
    assert evaluated("model=fcclip", "dataset=voc20").tasks == ["semantic"]
    assert evaluated("model=fcclip", "dataset=ade20k").tasks is None
    trident = evaluated("model=trident_h14", "dataset=voc21")
    assert (trident.vocabulary.names, trident.vocabulary.templates) == ("trident", "imagenet")
    assert evaluated("model=trident", "dataset=voc21", "recipe=none").vocabulary.names == "fcclip"


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
