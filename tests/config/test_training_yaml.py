"""Every recipe of the group ``training`` composes with its method and says what is allowed."""

import pytest

from ovseg.config import compose_config, compose_model, config_groups, strict
from ovseg.models.fcclip.loss_options import LossOptions
from ovseg.schema import TrainConfig, TrainingConfig


@pytest.mark.parametrize("name", config_groups()["training"])
def test_recipes(name):
    settings = strict(compose_config("train", [f"model={name}"]), TrainConfig)
    assert settings.model["name"] == compose_model(name)["name"]
    assert settings.model["weights"] == "parts"
    assert settings.training.iterations > 0
    assert settings == strict(compose_config("train", [f"model={name}", f"training={name}"]), TrainConfig)


def test_every_key_of_training_is_listed_with_its_official_value():
    listed = compose_config("train", ["model=fcclip"]).training
    assert set(listed) == set(TrainingConfig.__dataclass_fields__)


def test_the_losses_options_are_those_of_the_method_and_its_defaults():
    settings = strict(compose_config("train", ["model=fcclip"]), TrainConfig)
    assert LossOptions.of(settings.training.options) == LossOptions()
    assert set(settings.training.options) == set(LossOptions.__dataclass_fields__)


def test_a_model_may_have_a_recipe_of_its_own():
    official, own = (
        strict(compose_config("train", [f"model={name}", "dataset=toyworld"]), TrainConfig)
        for name in ("fcclip", "fcclip_toyworld")
    )
    assert (official.training.crop, own.training.crop) == (1024, 256)
    weights = {key: value for key, value in own.training.options.items() if key.endswith("weight")}
    assert weights.items() <= official.training.options.items()
    assert own.vocabulary.name is None  # each split brings its own classes


def test_sizes_of_a_model_share_the_recipe():
    small, large = (
        strict(compose_config("train", [f"model={name}"]), TrainConfig) for name in ("fcclip_r50", "fcclip")
    )
    assert small.training == large.training
    assert small.model["backbone"] != large.model["backbone"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["training.iterations=0"], "training.iterations=0: must be at least 1"),
        (["training.learning_rate=0"], "training.learning_rate=0.0: must be greater than 0"),
        (["training.clip_norm=-1"], "or null for no clipping"),
        (["training.flip=2"], "training.flip=2.0: must be from 0 to 1"),
        (["training.drops=[0.5,1.5]"], "training.drops=[0.5, 1.5]: must be from 0 to 1"),
        (["training.scales=[2,1]"], "training.scales=[2.0, 1.0]: must be [smallest,largest]"),
        (
            ["training.loggers=[wanbd]"],
            "must be one of tensorboard, wandb. Did you mean",
        ),
        (
            ["training.batch_size=3", "runtime.devices=2"],
            "cannot be shared equally by 2 devices in 1 parts",
        ),
        (["training.accumulate=3"], "take a multiple of 3"),
        (
            ["runtime.devices=2", "runtime.device=cuda:1"],
            "each process takes a GPU of its own",
        ),
        (["runtime.devices=0"], "runtime.devices=0: must be at least 1"),
        (["training.evaluate_pictures=0"], "training.evaluate_pictures=0: must be at least 1"),
    ],
)
def test_values_that_are_not_allowed(words, said):
    from ovseg.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        strict(compose_config("train", ["model=fcclip", *words]), TrainConfig)
    assert said in str(caught.value)
