"""Published numbers stand beside a run's only if it has the settings that they were published with."""

import re

import pytest

from ovseg.config import compose_config, conf_dir, config_groups, strict
from ovseg.evaluation.coco_accumulate import NAMES
from ovseg.registry import EVALUATORS
from ovseg.run.published import _table, comparable, published_for, published_row
from ovseg.schema import EvaluateConfig
from ovseg.vocabulary import vocabulary_info

METRICS = {
    "panoptic_quality": {name + part for name in ("PQ", "SQ", "RQ") for part in ("", "/things", "/stuff")},
    "average_precision": set(NAMES),
    "cityscapes_ap": {"AP", "AP50"},
    "mean_iou": {"mIoU", "mIoU/mmseg", "fwIoU", "mACC", "pACC"},
}
DATASET_OF = {"ade20k_150": "ade20k", "voc_20": "voc20", "voc_21": "voc21"}


def test_every_row_is_of_things_that_exist():
    groups = config_groups()
    for model, rows in _table().items():
        assert model in groups["model"]
        for dataset, row in rows.items():
            assert dataset in groups["dataset"]
            assert row["source"]
            assert row["values"]
            assert set(row["values"]) <= set(EVALUATORS.names())
            for evaluator, values in row["values"].items():
                assert set(values) <= METRICS[evaluator]
                assert all(0 < value < 100 for value in values.values())


@pytest.mark.parametrize(
    "file", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_experiments_expect_the_same(file):
    model, vocabulary = file.stem.split("-")
    expected = dict(
        re.findall(r"(PQ|AP|mIoU) ([\d.]+)", file.read_text().split("expected")[1].split("\n")[0])
    )
    row = published_row(model, DATASET_OF.get(vocabulary, vocabulary))
    if row is None:
        assert not expected
        return
    found = {metric: entry["value"] for metric, entry in comparable(row, list(METRICS)).items()}
    assert {metric: f"{found[metric]:.1f}" for metric in expected} == expected


def published(model, dataset, *overrides):
    words = [f"model={model}", f"dataset={dataset}", *overrides]
    settings = strict(compose_config("evaluate", words), EvaluateConfig)
    names = settings.vocabulary.names or vocabulary_info(settings.vocabulary.name).default_names
    evaluators = [name for name in settings.evaluator if name != "auto"]
    return published_for(settings, model, dataset, names=names, evaluators=evaluators)


def test_the_official_settings():
    found = published("fcclip", "ade20k", "dataset.root=elsewhere", "runtime=fast")
    assert found["PQ"]["value"] == 26.7882
    assert found["AP"]["evaluator"] == "average_precision"
    assert "ade20k.log" in found["mIoU"]["source"]
    assert published("fcclip", "cityscapes")["AP"]["evaluator"] == "cityscapes_ap"
    assert published("trident", "voc21")["mIoU/mmseg"]["value"] == 67.1
    assert set(published("fcclip", "ade20k", "evaluator=[mean_iou]")) == {"mIoU", "fwIoU", "mACC", "pACC"}


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.short_side=640"],
        ["model.weights=other.pth"],
        ["dataset.split=train"],
        ["limit=10"],
        ["vocabulary.names=plain"],
        ["vocabulary.templates=imagenet"],
        ["tasks=[semantic]"],
    ],
)
def test_other_settings_have_none(overrides):
    assert published("fcclip", "ade20k", *overrides) == {}


def test_what_nobody_has_published():
    assert published("fcclip", "coco_stuff") == {}
    assert published("sclip", "voc21") == {}, "published with other names of the classes"
