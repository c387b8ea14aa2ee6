import os
import subprocess
import sys

import pytest
from helpers.distributions import pretend_installed
from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ovseg.config import compose_config, compose_model, conf_dir, config_groups, strict
from ovseg.errors import ConfigError
from ovseg.plugins import PluginWarning
from ovseg.schema import PredictConfig, RuntimeConfig, VocabularyConfig

GIVEN = ["input=a.jpg", "output=out"]


def error_of(*overrides):
    with pytest.raises(ConfigError) as caught:
        strict(compose_config("predict", [*GIVEN, *overrides]), PredictConfig)
    return str(caught.value)


def test_the_folder_of_yaml_is_the_one_of_the_checkout():
    assert (conf_dir() / "predict.yaml").is_file()


def test_composed_and_strict_gives_plain_frozen_values():
    settings = strict(
        compose_config("predict", [*GIVEN, "tasks=[semantic]", "runtime.seed=0"]), PredictConfig
    )
    assert settings.input == "a.jpg"
    assert settings.tasks == ["semantic"]
    assert type(settings.tasks) is list
    assert type(settings.model) is dict
    assert settings.model["name"] == "fcclip"
    assert type(settings.model["backbone"]) is dict
    assert settings.vocabulary == VocabularyConfig(name="coco_panoptic", names="fcclip")
    assert settings.runtime == RuntimeConfig()
    with pytest.raises(AttributeError):
        settings.output = "elsewhere"


def test_the_yaml_defaults_are_those_of_the_classes():
    settings = strict(compose_config("predict", GIVEN), PredictConfig)
    assert settings == PredictConfig(
        input="a.jpg", output="out", model=settings.model, vocabulary=settings.vocabulary
    )


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "outptu=b",
            "There is no key 'outptu'. Did you mean 'output'? Keys of the run: batch_size, classes, ",
        ),
        ("device=cpu", "There is no key 'device'. Did you mean 'runtime.device'?"),
        (
            "runtime.devise=cpu",
            "There is no key 'runtime.devise'. Did you mean 'runtime.device'? Keys of runtime: ",
        ),
        ("+runtime.devise=cpu", "There is no key 'runtime.devise'. Did you mean 'runtime.device'? Known: "),
        ("+extra=1", "There is no key 'extra'. Known: input, output, classes, "),
        ("modle=fcclip", "There is no key 'modle'. Did you mean 'model'?"),
        ("model.shrot_side=3", "There is no key 'model.shrot_side'. Did you mean 'model.short_side'?"),
        ("model.shrot_side=3", "set with +model.shrot_side=..."),
        (
            "model=fclip",
            "model=fclip: there is no such option. Did you mean 'fcclip'? Options of model: clip_dense, ",
        ),
        (
            "model/backbone=clip_rn5",
            "model/backbone=clip_rn5: there is no such option (asked for in model/fcclip",
        ),
        ("modle/backbone=x", "There is no key 'modle/backbone'. Did you mean 'model/backbone'?"),
        ("batch_size=many", "batch_size=many: Value 'many' of type 'str' could not be converted to Integer"),
        ("batch_size=0", "batch_size=0: must be at least 1"),
        ("resume=perhaps", "resume=perhaps: Value 'perhaps' is not a valid bool"),
        (
            "tasks=[semnatic]",
            "tasks=semnatic: must be one of semantic, panoptic, instance. Did you mean 'semantic'?",
        ),
        ("tasks=[]", "tasks=[]: name at least one of semantic, panoptic, instance"),
        ("tasks=[semantic,semantic]", "each task once"),
        ("tasks=semantic", "tasks=semantic: "),
        (
            "runtime.precision=fp61",
            "runtime.precision=fp61: must be one of fp32, fp16, bf16. Did you mean 'fp16'?",
        ),
        ("runtime.threads=0", "runtime.threads=0: must be at least 1"),
        ("runtime.seed=-1", "runtime.seed=-1: must be at least 0"),
        (
            "vocabulary.names=fclip",
            "vocabulary.names=fclip: must be one of fcclip, plain, trident. Did you mean ",
        ),
        (
            "vocabulary.templates=3",
            "vocabulary.templates=3: must be null, the name of a set or a list of prompts",
        ),
        ("input=3", "input=3: must be a path, a glob or a list of these"),
        ("input=[]", "input=[]: must be a path"),
        ("classes=3", "classes=3: must be a list of names, as in classes='[cat, dog]', or a file"),
        (
            "classes=a,b",
            "Ambiguous value for argument 'classes=a,b': to run once per value add -m, for a list write",
        ),
        ("classes=[a", "Cannot read 'classes=[a': no viable alternative"),
        ("output=é", "Cannot read 'output=é': 'é' (character 8) needs quotes"),
        ("output=${nowhere}", "output: Interpolation key 'nowhere' not found"),
    ],
)
def test_a_wrong_override_says_what_is_right(override, text):
    assert text in error_of(override)


def test_values_that_are_not_allowed_come_in_one_message():
    assert error_of("batch_size=0", "tasks=[a]", "runtime.threads=0").count("\n") == 2


def test_what_must_be_given_is_asked_for_at_once():
    with pytest.raises(ConfigError, match=r"Not given: input, output\. Add input=\.\.\. output=\.\.\.\."):
        strict(compose_config("predict"), PredictConfig)


def test_compose_model_is_plain_and_takes_the_overrides_of_the_command_line():
    node = compose_model("fcclip_r50", ["model.short_side=640", "model/backbone=clip_rn101"])
    assert node["name"] == "fcclip"
    assert node["short_side"] == 640
    assert node["backbone"] == {"name": "clip_resnet", "architecture": "RN101", "pretrained": "openai"}
    assert type(node) is dict
    with pytest.raises(ConfigError, match=r"model=fcclop: there is no such option\. Did you mean 'fcclip'\?"):
        compose_model("fcclop")
    with pytest.raises(ConfigError, match=r"no key 'model\.shrot_side'\. Did you mean 'model\.short_side'\?"):
        compose_model("fcclip", ["model.shrot_side=640"])


def test_a_recipe_comes_by_itself_for_every_variant_of_the_method():
    for model in ("fcclip", "fcclip_r50x64"):
        composed = compose_config("predict", [*GIVEN, f"model={model}", "vocabulary=cityscapes"])
        assert (composed.model.short_side, composed.model.long_side) == (1024, 2560)
    assert compose_config("predict", GIVEN).model.short_side == 800


def test_a_recipe_can_be_chosen_turned_off_and_overridden():
    composed = compose_config("predict", ["recipe=fcclip-cityscapes", "model.short_side=5"])
    assert (composed.model.short_side, composed.model.long_side) == (5, 2560)
    assert compose_config("predict", ["vocabulary=cityscapes", "recipe=none"]).model.short_side == 800
    assert compose_config("predict", ["vocabulary=voc_20"]).tasks == ["semantic"]
    assert compose_config("predict", ["vocabulary=voc_20", "tasks=[panoptic]"]).tasks == ["panoptic"]


def test_an_experiment_chooses_model_vocabulary_and_with_them_the_recipe():
    composed = compose_config("predict", ["experiment=fcclip-mapillary_vistas"])
    assert composed.vocabulary.name == "mapillary_vistas"
    assert composed.model.long_side == 2560
    assert composed.tasks == ["semantic", "panoptic"]
    composed = compose_config("predict", ["experiment=fcclip_r50-ade20k_150", "vocabulary=cityscapes"])
    assert composed.model.weights == "fcclip_r50"
    assert composed.vocabulary.name == "cityscapes"


def test_a_hydra_run_of_the_caller_stays_as_it_was(tmp_path, monkeypatch):
    with initialize(version_base="1.3", config_path=None):
        before = GlobalHydra.instance().hydra
        compose_model("fcclip")
        with pytest.raises(ConfigError):
            compose_model("nothing")
        assert GlobalHydra.instance().hydra is before
        assert compose(overrides=["+a=1"]) == {"a": 1}


def test_yaml_of_a_plugin_joins_the_groups_behind_ours(tmp_path, monkeypatch):
    pretend_installed(
        tmp_path,
        monkeypatch,
        name="with-yaml",
        entry_points={"ovseg.conf": {"with_yaml": "with_yaml.conf"}},
        files={
            "with_yaml/__init__.py": "raise RuntimeError('must not be imported to find the YAML')",
            "with_yaml/conf/model/theirs.yaml": "defaults: [fcclip, _self_]\nshort_side: 7\n",
            "with_yaml/conf/model/fcclip.yaml": "name: usurper\n",
            "with_yaml/conf/recipe/fcclip-voc_21.yaml": "# @package _global_\nbatch_size: 99\n",
        },
    )
    assert "theirs" in config_groups()["model"]
    assert compose_model("theirs")["short_side"] == 7
    assert compose_model("fcclip")["name"] == "fcclip"
    assert compose_config("predict", ["model=theirs", "vocabulary=cityscapes"]).model.long_side == 2560


def test_missing_yaml_of_a_plugin_is_a_named_warning(tmp_path, monkeypatch):
    pretend_installed(
        tmp_path,
        monkeypatch,
        name="without-yaml",
        entry_points={"ovseg.conf": {"gone": "without_yaml.conf", "file": "without_yaml.module"}},
        files={"without_yaml/__init__.py": "", "without_yaml/module.py": ""},
    )
    with pytest.warns(PluginWarning) as caught:
        assert compose_model("fcclip")["name"] == "fcclip"
    texts = {str(warning.message) for warning in caught}
    assert texts == {
        "The plugin 'gone' (ovseg.conf) of the package 'without-yaml' cannot be used: "
        "there is no module 'without_yaml.conf'.",
        "The plugin 'file' (ovseg.conf) of the package 'without-yaml' cannot be used: "
        "'without_yaml.module' is a file; it must be a package (a folder of YAML files).",
    }


def test_a_schema_refuses_what_only_a_strict_check_sees():
    plain = OmegaConf.create(OmegaConf.to_container(compose_config("predict", GIVEN)))
    plain.runtime.devise = 1
    plain.vocabulary = {"nmae": "x"}
    with pytest.raises(ConfigError) as caught:
        strict(plain, PredictConfig)
    assert "'runtime.devise'. Did you mean 'runtime.device'?" in str(caught.value)
    assert "'vocabulary.nmae'. Did you mean 'vocabulary.name'?" in str(caught.value)


def test_neither_config_nor_registry_imports_torch():
    modules = (
        "ovseg, ovseg.build, ovseg.cli.main, ovseg.cli.predict, ovseg.cli.completion, ovseg.config, "
        "ovseg.errors, ovseg.plugins, ovseg.registry, ovseg.schema"
    )
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout == "False\n", done.stderr
