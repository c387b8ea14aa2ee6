"""``ovseg prepare``: makes what is missing, says what it did, names what it could not do."""

import numpy as np
import pytest
from helpers.dataset_files import files_of, put_map

from ovseg.cli.main import main
from ovseg.data.configured import dataset_names

STEM = "000000000139"


@pytest.fixture
def coco(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path))
    put_map(tmp_path / "coco" / "stuffthingmaps" / "val2017" / f"{STEM}.png", np.array([[0, 91], [181, 255]]))
    return tmp_path / "coco"


def test_it_makes_what_is_missing_and_then_nothing(coco, capsys):
    assert main(["prepare", "coco_stuff", "coco_object"]) == 0
    folder = coco / "annotations" / "val2017"
    assert capsys.readouterr().out.splitlines() == [
        f"coco_stuff: labelTrainIds of val in {folder}: 1 made, 0 were there.",
        f"coco_object: instanceTrainIds of val in {folder}: 1 made, 0 were there.",
    ]
    before = files_of(coco)
    assert {f"annotations/val2017/{STEM}_{kind}TrainIds.png" for kind in ("label", "instance")} <= set(before)
    assert main(["prepare", "coco_stuff", "coco_object", "--threads", "2"]) == 0
    assert "0 made, 1 were there" in capsys.readouterr().out
    assert files_of(coco) == before


def test_keys_of_the_config(coco, tmp_path, capsys):
    (coco / "stuffthingmaps" / "val2017").rename(coco / "stuffthingmaps" / "train2017")
    coco.rename(tmp_path / "elsewhere")
    words = ["--threads", "1", f"root={tmp_path / 'elsewhere'}", "coco_stuff", "dataset.split=train"]
    assert main(["prepare", *words]) == 0
    assert (tmp_path / "elsewhere" / "annotations" / "train2017" / f"{STEM}_labelTrainIds.png").is_file()


def test_a_data_set_that_needs_nothing_says_so(coco, capsys):
    assert main(["prepare", "coco_panoptic"]) == 0
    assert capsys.readouterr().out == "coco_panoptic needs no preparation: its files are read as they are.\n"


def test_a_failure_is_said_and_the_next_is_made(coco, capsys):
    put_map(coco / "stuffthingmaps" / "val2017" / "000000000001.png", [[90]])
    put_map(coco / "annotations" / "val2017" / "000000000001_instanceTrainIds.png", [[0]])
    assert main(["prepare", "coco_stuff", "coco_object"]) == 1
    printed = capsys.readouterr()
    assert "ovseg: coco_stuff: " in printed.err
    assert "000000000001.png holds 90 in 1 pixels" in printed.err
    assert "ovseg: 1 of 2 not prepared: coco_stuff" in printed.err
    assert "coco_object: instanceTrainIds of val" in printed.out


def test_a_misspelt_name_or_key_comes_before_any_work(coco, capsys):
    before = files_of(coco)
    assert main(["prepare", "coco_stuff", "coco_objects"]) == 1
    assert "There is no dataset 'coco_objects'. Did you mean 'coco_object'?" in capsys.readouterr().err
    assert main(["prepare", "coco_stuff", "rooot=x"]) == 1
    assert "Did you mean 'dataset.root'?" in capsys.readouterr().err
    assert files_of(coco) == before


def test_what_is_not_there(tmp_path, capsys):
    assert main(["prepare", "coco_stuff", f"root={tmp_path}"]) == 1
    assert f"{tmp_path} has none of these label files: stuffthingmaps/val2017" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["coco_stuff", "--threads", "0"]])
def test_words_that_make_no_sense(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["prepare", *words])
    assert stop.value.code == 2
    assert "ovseg prepare" in capsys.readouterr().err


def test_the_list(capsys):
    assert main(["prepare", "--list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == list(dataset_names())
    assert lines["coco_panoptic"] == "needs no preparation"
    assert lines["coco_stuff"] == "labelTrainIds of val"
    assert lines["folder"].startswith("cannot be told: Not given: dataset.root.")
