"""``ovseg demo``: the whole way, with untrained stand-ins for the weights that come with ovseg."""

import json

import pytest
from helpers.toyworld_weights import put_toyworld_weights

from ovseg.cli import demo
from ovseg.cli.main import main


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OVSEG_MIRROR", str(tmp_path))  # a folder: nothing is downloaded
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def weights(cache, tmp_path, monkeypatch):
    put_toyworld_weights(tmp_path, monkeypatch)


def test_a_table_and_a_page(weights, tmp_path, capsys):
    words = ["limit=2", "pictures=1", "resamples=10", "dataset.size=96", "runtime.workers=0"]
    assert main(["demo", *words]) == 0
    printed = capsys.readouterr().out
    assert "page and tables in runs/demo: runs/demo/index.html" in printed
    page = (tmp_path / "runs/demo/index.html").read_text()
    assert all(name in page for name in ("fcclip_toyworld", "trident_toyworld", "val_0000", "PQ/unseen"))
    found = json.loads((tmp_path / "runs/demo/comparison.json").read_text())
    columns = [column["title"] for column in found["columns"]]
    for wanted in ("PQ", "AP", "mIoU", "PQ/seen", "PQ/unseen", "mIoU/seen", "mIoU/unseen"):
        assert wanted in columns  # under one title: both methods are divided by the same classes
        assert all(wanted in method["cells"] for method in found["methods"])
    for name in ("fcclip_toyworld", "trident_toyworld"):
        metrics = json.loads((tmp_path / "runs/demo" / name / "metrics.json").read_text())
        assert sum(metrics["is_seen"]) == 45
        assert len(metrics["is_seen"]) == 60
        assert metrics["protocol"]["dataset"]["size"] == 96
        assert metrics["pictures"] == {"used": 2, "skipped": []}
    assert main(["demo", *words, "digits=2", "resamples=0", "pictures=0"]) == 0
    assert capsys.readouterr().out.count("evaluated already") == 2


def test_what_is_typed_takes_the_place_of_what_is_not(monkeypatch):
    told = []
    monkeypatch.setattr(demo, "compare", lambda words: told.append(set(words)) or 0)
    assert demo.main([]) == 0
    assert demo.main(["output=here", "limit=3", "digits=2", "--cfg", "job"]) == 0
    models = "models=[fcclip_toyworld,trident_toyworld]"
    assert told[0] == {
        models,
        "dataset=toyworld",
        "limit=24",
        "pictures=12",
        "output=runs/demo",
        "into=runs/demo",
    }
    own = {"output=here", "into=here", "limit=3", "digits=2", "--cfg", "job"}
    assert told[1] == {models, "dataset=toyworld", "pictures=12", *own}


def test_help(capsys):
    assert main(["demo", "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ovseg demo: FC-CLIP and Trident side by side on toyworld.")
    assert all(f"  {key} " in printed for key in (*demo.WORDS, "output", "into"))


def test_words_that_make_no_sense(cache, capsys):
    assert main(["demo", "limt=3"]) == 1
    assert "limt" in capsys.readouterr().err
