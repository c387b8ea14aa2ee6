"""``ovseg ls``: every kind, for people, for pipes and for programs."""

import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from ovseg import plugins
from ovseg.cli.inventory import KINDS, config_files, models
from ovseg.cli.main import main
from ovseg.cli.tables import Table, bytes_text, show, text_of
from ovseg.config import compose_model, config_groups
from ovseg.registry import REGISTRIES
from ovseg.vocabulary import load_vocabulary, vocabulary_names
from ovseg.weights.zoo import ZOO


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path))
    monkeypatch.delenv("OVSEG_MIRROR", raising=False)
    return tmp_path


def listing(capsys, *words) -> dict:
    assert main(["ls", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def without_style(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_every_kind_is_listed(capsys):
    everything = listing(capsys)
    assert list(everything) == list(KINDS)
    assert [row["name"] for row in everything["models"]] == config_groups()["model"]
    assert [row["name"] for row in everything["datasets"]] == config_groups()["dataset"]
    for kind in ("backbones", "last_blocks", "mask_generators", "classifiers", "evaluators"):
        assert [row["name"] for row in everything[kind]] == list(REGISTRIES[kind].names())
    assert [row["name"] for row in everything["vocabularies"]] == list(vocabulary_names())
    assert [row["name"] for row in everything["weights"]] == list(ZOO)
    assert all(row["what"] for rows in everything.values() for row in rows)


def test_only_what_is_asked_for(capsys):
    assert list(listing(capsys, "weights", "backbones")) == ["weights", "backbones"]


@pytest.mark.parametrize("name", config_groups()["model"])
def test_models_are_listed_as_they_compose(name):
    (row,) = [row for row in models().rows if row["name"] == name]
    node = compose_model(name)
    assert (row["method"], row["weights"]) == (node["name"], node["weights"])
    (backbone,) = [file for file in config_files("model/backbone") if file.name == row["backbone"]]
    own = {key: value for key, value in backbone.content.items() if key != "defaults"}
    assert own.items() <= node["backbone"].items()
    assert row["from"] == "built-in"


def test_parts_name_their_configs(capsys):
    rows = {row["name"]: row for row in listing(capsys, "backbones")["backbones"]}
    assert "clip_rn50x16" in rows["clip_resnet"]["configs"]
    assert "clip_convnext_large_d_320" in rows["clip_convnext"]["configs"]


def test_vocabularies_tell_their_size(capsys):
    for row in listing(capsys, "vocabularies")["vocabularies"]:
        assert row["classes"] == len(load_vocabulary(row["name"]))
        assert row["licence"]


def test_weights_tell_whether_they_are_on_disk(capsys, cache):
    before = {row["name"]: row for row in listing(capsys, "weights")["weights"]}
    assert before["fcclip"]["on_disk"] is False
    assert before["fcclip"]["size"] is None
    assert before["fcclip"]["licence"] == "Apache-2.0"
    path = cache / "weights" / "fcclip.pth"
    path.parent.mkdir()
    path.write_bytes(bytes(1_500_000))
    after = {row["name"]: row for row in listing(capsys, "weights")["weights"]}
    assert (after["fcclip"]["on_disk"], after["fcclip"]["size"], after["fcclip"]["path"]) == (
        True,
        1_500_000,
        str(path),
    )
    assert {row["name"]: row["on_disk"] for row in listing(capsys, "models")["models"]}["fcclip"] is True


def test_the_plain_form_is_aligned_and_whole(capsys, cache, monkeypatch):
    monkeypatch.setitem(
        KINDS, "evaluators", lambda: Table("evaluators", "Evaluators", [], "None is registered.")
    )
    assert main(["ls", "weights", "evaluators"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Weights (model.weights=NAME; on disk in {cache / 'weights'})"
    assert lines[1].split() == ["name", "on", "disk", "size", "licence", "what", "source"]
    column = lines[1].index("on disk")
    rows = lines[2 : 2 + len(ZOO)]
    there = ["yes" if entry.shipped else "no" for entry in ZOO.values()]
    assert [row[column : column + 3].strip() for row in rows] == there
    assert [row.endswith("  comes with ovseg") for row in rows] == [word == "yes" for word in there]
    assert rows[0].endswith("https://github.com/bytedance/fc-clip")
    assert "not published" in rows[0]
    assert lines[2 + len(ZOO) :] == ["", "Evaluators", "  None is registered."]


def test_a_very_narrow_terminal_folds_names(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["ls", "weights"]) == 0
    lines = without_style(capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 40
    names = "".join(line[1:29].strip() for line in lines[3:])
    assert all(name in names for name in ZOO)


@pytest.mark.parametrize("width", [80, 250])
def test_a_terminal_gets_a_table_that_fits(capsys, monkeypatch, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["ls"]) == 0
    lines = without_style(capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(name in text for name in ZOO), "names are never cut"
    assert ("https://github.com/bytedance/fc-clip" in text) == (width == 250)


def test_an_unknown_kind(capsys):
    assert main(["ls", "model"]) == 1
    assert capsys.readouterr().err == (
        "ovseg: 'ovseg ls' knows no 'model'. Did you mean 'models'? Known: models, backbones, "
        "last_blocks, mask_generators, classifiers, datasets, vocabularies, evaluators, weights.\n"
    )


def test_a_plugin_is_listed_with_its_package(capsys, monkeypatch):
    point = EntryPoint("json_thing", "json:loads", "ovseg.evaluators")
    monkeypatch.setattr(plugins, "_entry_points", lambda group: (point,) if group == point.group else ())
    (row,) = [row for row in listing(capsys, "evaluators")["evaluators"] if row["name"] == "json_thing"]
    assert (row["name"], row["from"]) == ("json_thing", "(unknown)")


def test_listing_needs_no_torch():
    code = (
        "import sys; from ovseg.cli.main import main; main(['ls']); "
        "sys.exit(bool({'torch', 'open_clip', 'requests'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_cells():
    assert [text_of("x", cell) for cell in (None, True, False, 7, "a", ("a", "b"), ())] == [
        "-",
        "yes",
        "no",
        "7",
        "a",
        "a, b",
        "-",
    ]
    assert [bytes_text(size) for size in (5, 5_000, 5_500_000, 1_234_000_000)] == [
        "5 B",
        "5.0 kB",
        "5.5 MB",
        "1.2 GB",
    ]


def test_a_table_without_rows_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show([Table("things", "Things", [], "There is none.")], as_json=False)
    assert without_style(capsys.readouterr().out) == "Things\n  There is none.\n\n"


def test_datasets_tell_where_they_are_from_and_where_they_are(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path))
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "panoptic_val2017.json").touch()
    rows = {row["name"]: row for row in listing(capsys, "datasets")["datasets"]}
    assert rows["coco_panoptic"] == {
        "name": "coco_panoptic",
        "tasks": ["semantic", "panoptic", "instance"],
        "classes": 133,
        "pictures": ["val 5000", "train 118287"],
        "on_disk": str(tmp_path / "coco"),
        "from": "built-in",
        "what": "COCO 2017 panoptic: 80 things and 53 kinds of stuff; panoptic, instance and semantic truth.",
        "source": "https://cocodataset.org/#download",
        "licence": "https://cocodataset.org/#termsofuse",
    }
    assert rows["coco_stuff"]["on_disk"] is None
    assert rows["folder"]["tasks"] is None
