"""FC-CLIP, made small, through `ovseg train`: killed and resumed, in two processes, on data with faults."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import training_process
from helpers.dataset_files import put_map
from helpers.training_process import words, write_run

from ovseg.cli.main import main
from ovseg.run.load import load_method

pytestmark = pytest.mark.filterwarnings("ignore:the frozen parts have random weights")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("training"))


def rows(folder):
    with (folder / "log.csv").open() as file:
        return [
            {key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)
        ]


def trained(folder):
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["trained"]


@pytest.fixture(scope="module")
def whole(files):
    """Eight iterations without interruption."""
    output = files / "whole"
    # Module-wide, so pytest's own filter is not in force.
    assert main(words(files, f"output={output}", *EIGHT)) == 0
    return output


EIGHT = ("training.iterations=8", "training.batch_size=2", "training.save_every=3")


def test_killed_and_resumed_it_gives_the_same_bits(files, whole):
    output = files / "killed"
    command = [sys.executable, training_process.__file__, *words(files, f"output={output}", *EIGHT)]
    killed = subprocess.run(
        command, env={**os.environ, "TRAIN_DIE": "5"}, capture_output=True, text=True, timeout=200
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["iteration"] for row in rows(output)] == ["1", "2", "3", "4", "5"]
    assert main(words(files, f"output={output}", *EIGHT)) == 0
    assert rows(output) == rows(whole)
    assert len(rows(whole)) == 8
    before, after = trained(whole), trained(output)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_it_learns_and_the_result_knows_its_classes(files, whole):
    losses = [float(row["loss"]) for row in rows(whole)]
    assert losses[-1] < 0.95 * losses[0]
    content = torch.load(whole / "model.pth", weights_only=True)
    assert content["iteration"] == 8
    assert not any(key.startswith("backbone.") for key in content["model"])
    names = [entry["names"] for entry in content["ovseg"]["training_vocabulary"]["classes"]]
    assert names == [["dog", "puppy"], ["cat"], ["grass"]]


def test_two_processes_equal_one(files, tmp_path, monkeypatch, capsys):
    """Pictures with one to five targets, so that what is divided by what is seen."""
    for number in (1, 2):
        shutil.rmtree(files / f"of_{number}", ignore_errors=True)
    common = ("training.iterations=3", "training.batch_size=4", "training.save_every=100")
    common += ("training.evaluate_every=3", "training.evaluate_pictures=3")
    assert main(words(files, f"output={files / 'of_1'}", *common)) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    typed = words(files, f"output={files / 'of_2'}", *common)
    silent = tmp_path / "second.txt"
    with silent.open("w") as file:
        second = subprocess.Popen(
            [sys.executable, training_process.__file__, *typed],
            env={**os.environ, **together, "RANK": "1", "LOCAL_RANK": "1"},
            stderr=file,
        )
    for name, value in {**together, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    try:
        assert main(typed) == 0
        assert second.wait(60) == 0, silent.read_text()
    finally:
        second.kill()
        second.wait()
    one, two = rows(files / "of_1"), rows(files / "of_2")
    assert len(one) == 3
    for before, after in zip(one, two, strict=True):
        values = [[float(value) for value in row.values()] for row in (before, after)]
        np.testing.assert_allclose(values[1], values[0], rtol=1e-5)
    records = [
        (files / folder / "evaluations" / "00000003" / "per_image.jsonl").read_text().splitlines()
        for folder in ("of_1", "of_2")
    ]
    assert list(map(len, records)) == [3, 3]  # shared, and added up by the first
    said = capsys.readouterr().err.splitlines()
    assert "training on 5 of 5 pictures" in said
    assert not [line for line in silent.read_text().splitlines() if "training on" in line]
    before, after = trained(files / "of_1"), trained(files / "of_2")
    # AdamW's first steps are of the rate's size whatever the gradient's: noise about 0 may turn one round.
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert float((moved.abs() > 1e-4).float().mean()) < 1e-3

    for name in (*together, "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name)
    assert main(typed) == 1


def test_fine_tuning_begins_with_the_weights_of_a_file(files, whole):
    checkpoint = whole / "full.pth"
    content = torch.load(whole / "model.pth", weights_only=True)
    conf = files / "conf"
    golden = torch.load(conf / "tiny.pth", weights_only=True)["model"]
    torch.save({"model": {**golden, **content["model"]}, "ovseg": content["ovseg"]}, checkpoint)
    more = (f"output={files / 'tuned'}", f"model.weights={checkpoint}", "training.learning_rate=1e-12")
    more += ("training.iterations=1", "training.batch_size=1", "training.save_frozen=true")
    assert main(words(files, *more)) == 0
    tuned = torch.load(files / "tuned" / "model.pth", weights_only=True)["model"]
    assert set(tuned) == set(golden)
    for key in golden.keys() - {"criterion.empty_weight"}:
        torch.testing.assert_close(tuned[key], {**golden, **content["model"]}[key], rtol=0, atol=1e-9)


def test_bf16_recomputation_and_parts(files, whole):
    more = (f"output={files / 'bf16'}", "runtime.precision=bf16", "training.recompute=true")
    more += ("training.deterministic=true",)
    more += ("training.iterations=1", "training.batch_size=2", "training.accumulate=2")
    assert main(words(files, *more)) == 0
    first, wanted = rows(files / "bf16")[0], rows(whole)[0]
    # Other points in the matching and half the digits: near, and not equal.
    assert float(first["loss"]) == pytest.approx(float(wanted["loss"]), rel=0.2)
    assert first["loss"] != wanted["loss"]


def test_evaluation_in_between(files, capsys):
    output = files / "examined"
    more = ("training.evaluate_every=1", "training.evaluate_pictures=2", "training.loggers=[tensorboard]")
    more += ("training.iterations=2", "training.batch_size=1", "training.best=mean_iou/fwIoU")
    assert main(words(files, f"output={output}", *more)) == 0
    for iteration in (1, 2):
        folder = output / "evaluations" / f"{iteration:08}"
        assert len((folder / "per_image.jsonl").read_text().splitlines()) == 2
        assert (folder / "scores.json").exists()
    assert (output / "best.pth").exists()
    assert list((output / "tensorboard").iterdir())
    said = capsys.readouterr().out
    assert f"trained weights in {output}/model.pth; use them with model.weights={output}/model.pth" in said
    assert "those of the best evaluation" in said


def trouble(files, capsys, *more):
    """What is said of a run that cannot be."""
    assert main(words(files, "training.iterations=2", "training.batch_size=2", *more)) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_other_settings_are_refused_and_a_new_start_is_offered(files, whole, capsys):
    said = trouble(files, capsys, f"output={whole}", "training.crop=96")
    assert "training.crop: 64 -> 96" in said
    assert "resume=false" in said
    copy = files / "copy"
    shutil.copytree(whole, copy)
    assert main(words(files, f"output={copy}", "resume=false", *EIGHT[1:], "training.iterations=1")) == 0
    assert len(rows(copy)) == 1
    assert not (copy / "checkpoints" / "previous.pt").exists()


def test_a_data_set_without_any_usable_picture(files, tmp_path, capsys):
    data = shutil.copytree(files / "data", tmp_path / "data")
    for path in (data / "labels").iterdir():
        put_map(path, np.full(np.asarray(_map(path)).shape, 255))
    said = trouble(files, capsys, f"dataset.root={data}", f"output={tmp_path / 'out'}")
    assert "cannot be trained on. None has a segment but crowds. Look at the whole data set" in said
    assert not (tmp_path / "out" / "model.pth").exists()


def test_a_part_without_pictures(files, tmp_path, capsys):
    data = shutil.copytree(files / "data", tmp_path / "data")
    (data / "none.txt").write_text("# nothing yet\n")
    said = trouble(files, capsys, f"dataset.root={data}", "split=none", f"output={tmp_path / 'out'}")
    assert "has no picture of the split 'none'. Give the folder that holds your pictures" in said


def test_a_class_index_outside_the_list(files, tmp_path, capsys):
    data = shutil.copytree(files / "data", tmp_path / "data")
    path = data / "labels" / "3.png"  # one of five: the other pictures are no excuse
    put_map(path, np.full(_map(path).shape, 7))
    said = trouble(files, capsys, f"dataset.root={data}", f"output={tmp_path / 'out'}")
    assert "ovseg: " in said.splitlines()[-1]
    assert "drawn by chance" not in said
    assert ".png holds 7 in " in said
    assert "the list of classes lacks some: add them" in said
    assert "which is no label of this data set (allowed: 0..2, 255)" in said


def _map(path):
    import PIL.Image

    with PIL.Image.open(path) as picture:
        return np.asarray(picture)


def test_a_folder_that_cannot_be_made(files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    said = trouble(files, capsys, f"output={tmp_path / 'file'}")
    assert "A file or folder of that name is in the way" in said


def test_the_result_predicts(files, whole):
    golden = Path(files / "conf" / "tiny.pth")
    content = torch.load(whole / "model.pth", weights_only=True)
    frozen = {k: v for k, v in torch.load(golden, weights_only=True)["model"].items() if "clip_model" in k}
    torch.save({**content, "model": {**frozen, **content["model"]}}, files / "complete.pth")
    import yaml

    node = yaml.safe_load((files / "conf" / "model" / "tiny_fcclip.yaml").read_text())
    method = load_method(node, weights=files / "complete.pth", device="cpu", text_cache=False)
    prediction = method.predict(np.zeros((40, 50, 3), np.uint8), ["dog", "zebra"])
    assert prediction.semantic.shape == (40, 50)
    assert set(method.training_names) == {"dog", "puppy", "cat", "grass"}
