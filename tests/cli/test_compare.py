"""``ovseg compare`` from the command line to its files, with a method without a network."""

import json
from pathlib import Path

import pytest
from helpers.blocks import words, write_blocks
from helpers.drawn_runs import Spoil, write_run
from helpers.fake_command import CommandLineMethod, write_fake

from ovseg.cli.compare import OWN_KEYS
from ovseg.cli.main import main
from ovseg.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:'(fake|twin)' has random weights")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a data set `data` of four pictures and the models `fake` and `twin`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVSEG_DATA", raising=False)
    monkeypatch.setattr(METHODS, "_run_time", {})
    METHODS.register("fake", CommandLineMethod)
    write_fake(tmp_path / "conf")
    (tmp_path / "conf/model/twin.yaml").write_text((tmp_path / "conf/model/fake.yaml").read_text())
    write_blocks(tmp_path / "data", 4)
    return tmp_path


def compare(*extra):
    return main(["compare", "--config-dir", "conf", *extra])


def models(*extra):
    given = [*words(Path("data")), "runtime.workers=0", "resamples=20", "models=[fake,twin]"]
    return compare(*given, *extra)


def test_models_are_evaluated_once_then_compared(folder, capsys):
    assert models("pictures=2") == 0
    out = capsys.readouterr().out
    assert "| method" in out
    assert "runs/compare/folder/index.html" in out
    output = folder / "runs/compare/folder"
    files = {f"comparison.{end}" for end in ("md", "csv", "tex", "json")}
    assert {path.name for path in output.iterdir()} == {*files, "index.html"}
    content = json.loads((output / "comparison.json").read_text())
    assert [row["name"] for row in content["methods"]] == ["fake", "twin"]
    metrics = json.loads((folder / "runs/folder/fake/metrics.json").read_text())
    value = metrics["scores"]["mean_iou"]["values"]["mIoU"]
    assert content["methods"][0]["cells"]["mIoU"]["value"] == value
    assert content["methods"][1]["cells"]["mIoU"]["difference"]["value"] == 0
    assert (output / "index.html").read_text().count('class="shot"') == 2

    stamp = (folder / "runs/folder/fake/metrics.json").stat().st_mtime_ns
    assert models("pictures=0", "baseline=twin", "digits=3", "output=again") == 0
    assert "runs/folder/fake: evaluated already" in capsys.readouterr().out
    assert (folder / "runs/folder/fake/metrics.json").stat().st_mtime_ns == stamp
    assert "Difference to twin" in (folder / "again/comparison.md").read_text()


def test_a_run_without_predictions_stays_and_failed_pictures_are_said(folder, capsys):
    given = [*words(Path("data")), "runtime.workers=0", "model=fake"]
    assert main(["evaluate", "--config-dir", "conf", *given]) == 0
    (folder / "data/images/001.png").write_bytes(b"not a picture")
    assert models("pictures=1") == 1
    assert "Pictures that failed and count for nothing: twin 1." in capsys.readouterr().out
    page = (folder / "runs/compare/folder/index.html").read_text()
    assert "No predictions were kept by fake" in page
    assert page.count('class="shot"') == 1


@pytest.fixture
def runs(folder):
    node = {"name": "folder", "root": str(folder / "data"), "labels": None, "panoptic": "panoptic.json"}
    for number, path in enumerate(("made/fake", "made/twin")):
        spoil = Spoil(number, 0.3 * number)
        write_run(folder / path, {**node, "classes": None}, spoil, evaluators=["mean_iou"])
    return folder


def test_runs_are_compared_without_evaluating(runs):
    assert compare("runs=made/fake, made/twin", "resamples=0", "output=out", "pictures=1") == 0
    content = json.loads((runs / "out/comparison.json").read_text())
    assert content["common"] == 4
    assert content["methods"][1]["cells"]["mIoU"]["difference"]["interval"] is None
    assert (runs / "out/index.html").read_text().count('class="shot"') == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "name what to compare, either models=[fcclip,trident] dataset=ade20k or runs="),
        (["models=[fake,twin]"], "models: on which data set? Add dataset=ade20k"),
        (["models=[fake,fake]", "dataset=coco_panoptic"], "models: 'fake' is named twice"),
        (["models=[fake]", "runs=[a]", "dataset=coco_panoptic"], "name what to compare"),
        (["models=[fake,fcclop]", "dataset=coco_panoptic"], "Did you mean 'fcclip'?"),
        (
            ["runs=[nowhere,elsewhere]"],
            "nowhere does not exist. A run folder is what 'ovseg evaluate' writes",
        ),
        (["runs=[a,b]", "digits=9"], "digits=9: must be from 0 to 6"),
        (["runs=[a,b]", "pictures=-1"], "pictures=-1: must be at least 0"),
        (["rnus=[a,b]"], "There is no key 'rnus'. Did you mean 'runs'?"),
    ],
)
def test_a_mistake_is_one_clean_message(folder, given, text, capsys):
    assert compare(*given) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ovseg: ")
    assert text in captured.err
    assert "Traceback" not in captured.err
    assert not (folder / "runs").exists()


def test_one_run_is_not_enough(runs, capsys):
    assert compare("runs=[made/fake]") == 1
    assert "at least two runs, got 1" in capsys.readouterr().err
    assert compare("runs=[made/fake,made/twin]", "baseline=twine") == 1
    assert "Did you mean 'twin'?" in capsys.readouterr().err


def test_help_names_every_key(capsys):
    assert main(["compare", "--help"]) == 0
    out = capsys.readouterr().out
    for key in (*OWN_KEYS, "dataset.*"):
        assert f"\n  {key} " in out
