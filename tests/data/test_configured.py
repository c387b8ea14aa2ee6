"""Data sets by the name of their config."""

import subprocess
import sys
from pathlib import Path

import pytest

from ovseg.config import conf_dir, config_groups
from ovseg.data.configured import build_dataset, compose_dataset, dataset_names, read_node
from ovseg.dataset import Dataset
from ovseg.errors import ConfigError
from ovseg.registry import DATASETS
from ovseg.vocabulary import vocabulary_names

IN_FOLDERS = [name for name in config_groups()["dataset"] if name != "toyworld"]
"""All others are drawn."""


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path))
    return tmp_path


def test_every_registered_data_set_has_a_config():
    assert dataset_names() == tuple(config_groups()["dataset"])
    composed = [compose_dataset(name, ["dataset.root=x"]) for name in IN_FOLDERS]
    assert {node["name"] for node in (*composed, compose_dataset("toyworld"))} == set(DATASETS.names())


@pytest.mark.parametrize("name", [name for name in IN_FOLDERS if name != "folder"])
def test_each_is_built_without_its_files(name, data):
    dataset = build_dataset(name)
    parts = {"vocabulary", "tasks", "keys", "image", "truth", "check"}
    assert parts < set(vars(Dataset))
    assert all(hasattr(type(dataset), part) for part in parts)
    assert dataset.root.is_relative_to(data)
    assert dataset.vocabulary.name in vocabulary_names()
    assert dataset.info.pictures[dataset.split] > 0
    assert dataset.info.source.startswith("http")
    assert dataset.info.licence.startswith("http")
    assert dataset.place is None
    assert len(list(dataset.missing())) == 1


@pytest.mark.parametrize("name", [name for name in config_groups()["dataset"] if name != "folder"])
def test_a_file_is_read_as_hydra_composes_it(name):
    assert read_node(conf_dir() / "dataset" / f"{name}.yaml") == compose_dataset(name)


def test_what_hydra_must_compose_is_left_to_it(tmp_path):
    assert read_node(conf_dir() / "dataset" / "folder.yaml") is None  # its root must be given
    (tmp_path / "mine.yaml").write_text("defaults:\n  - coco_stuff\nsplit: train\n")
    assert read_node(tmp_path / "mine.yaml") is None


def test_overrides():
    dataset = build_dataset("coco_stuff", ["dataset.root=elsewhere", "dataset.split=train"])
    assert (dataset.root, dataset.split) == (Path("elsewhere"), "train")


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("coco_stuf", [], "There is no dataset 'coco_stuf'. Did you mean 'coco_stuff'?"),
        ("coco_stuff", ["dataset.rot=x"], "Did you mean 'dataset.root'?"),
        ("coco_stuff", ["dataset.split=vla"], "dataset.split='vla': input should be 'val' or 'train'"),
        ("folder", [], "Not given: dataset.root. Add dataset.root=..."),
    ],
)
def test_what_makes_no_data_set(name, overrides, says):
    with pytest.raises(ConfigError) as error:
        build_dataset(name, overrides)
    assert says in str(error.value)


def test_data_sets_need_no_torch():
    code = (
        "import sys; from ovseg.data.configured import *; "
        "[build_dataset(name, [] if name == 'toyworld' else ['dataset.root=x']).tasks"
        " for name in dataset_names()]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
