"""``ovseg evaluate`` from the command line to its files, with a method without a network."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.blocks import words, write_blocks
from helpers.dataset_files import put_map, put_picture
from helpers.fake_command import CommandLineMethod, write_fake
from helpers.tiny_configs import write_tiny_fcclip
from PIL import Image

from ovseg.cli.main import main
from ovseg.errors import DataError
from ovseg.models.common.linear import chosen_backend
from ovseg.registry import METHODS
from ovseg.run.run_folder import read_run

pytestmark = pytest.mark.filterwarnings("ignore:'fake' has random weights")
COCO_MINI = (
    Path(os.environ.get("OVSEG_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "coco_mini"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a data set `data` of five pictures and a model `fake`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVSEG_DATA", raising=False)
    monkeypatch.setattr(METHODS, "_run_time", {})
    METHODS.register("fake", CommandLineMethod)
    write_fake(tmp_path / "conf")
    write_blocks(tmp_path / "data", 5)
    return tmp_path


def evaluate(*extra, data=True):
    given = words(Path("data")) if data else []
    return main(["evaluate", "--config-dir", "conf", "model=fake", "runtime.workers=0", *given, *extra])


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_data_set_becomes_numbers(folder, capsys):
    assert evaluate() == 0
    out = capsys.readouterr().out
    run = folder / "runs" / "folder" / "fake"
    for text in ("panoptic_quality", "average_precision", "mean_iou", "5 pictures", "runs/folder/fake"):
        assert text in out
    assert "cityscapes_ap" not in out
    names = {path.name for path in run.iterdir()} - {".lock"}
    assert names == {"config.yaml", "metrics.json", "per_image.jsonl", "report.md", "settings.json"}

    metrics = metrics_of(run)
    assert metrics["name"] == "fake"
    assert metrics["classes"] == ["cat", "dog", "grass", "sky"]
    assert metrics["is_seen"] == [True, False, False, False]
    assert metrics["pictures"] == {"used": 5, "skipped": []}
    assert metrics["published"] == {}
    assert metrics["protocol"]["tasks"] == ["semantic", "panoptic", "instance"]
    assert metrics["protocol"]["dataset"]["pictures"] == 5
    assert metrics["protocol"]["vocabulary"]["classes"] == 4
    assert "void" in metrics["protocol"]["evaluators"]["panoptic_quality"]["rules"]
    assert metrics["method"]["weights"] == {"name": "random", "sha256": None, "files": {}}
    assert metrics["time"]["stages"] == {"fake": 0.25}
    report = (run / "report.md").read_text()
    assert "| PQ/unseen |" in report
    assert "| dog | thing | no |" in report


def test_the_numbers_are_those_of_the_pixels(folder):
    assert evaluate("evaluator=[mean_iou]", "evaluator.mean_iou.resamples=0") == 0
    scores = metrics_of(folder / "runs/folder/fake")["scores"]
    assert list(scores) == ["mean_iou"]
    assert scores["mean_iou"]["intervals"] == {}
    right = total = 0
    for number in range(5):
        shown = np.asarray(Image.open(folder / f"data/images/{number:03}.png"))[..., 0] % 4
        true = np.asarray(Image.open(folder / f"data/panoptic/{number:03}.png"))[..., 0] - 1
        right, total = right + (shown == true).sum(), total + true.size
    assert scores["mean_iou"]["values"]["pACC"] == pytest.approx(100 * right / total, abs=1e-12)
    assert 50 < scores["mean_iou"]["values"]["pACC"] < 100


def test_workers_make_no_difference(folder):
    assert evaluate("output=a/run", "predictions=true") == 0
    assert evaluate("output=b/run", "predictions=true", "runtime.workers=2") == 0
    first, second = (metrics_of(folder / name / "run") for name in "ab")
    assert first["scores"] == second["scores"]
    files = [
        {
            str(path.relative_to(folder / name)): path.read_bytes()
            for path in (folder / name / "run/predictions").rglob("*.*")
        }
        for name in "ab"
    ]
    assert files[0] == files[1]
    assert {"run/predictions/semantic/000.png", "run/predictions/panoptic/004.png"} <= files[0].keys()
    panoptic = json.loads(files[0]["run/predictions/panoptic.json"])
    assert [entry["file_name"] for entry in panoptic["annotations"]] == [f"{n:03}.png" for n in range(5)]
    instances = json.loads(files[0]["run/predictions/instances.json"])["annotations"]
    assert {one["image_id"] for one in instances} <= set(range(5))


def test_a_bad_picture_is_left_out_named_and_tried_again(folder, capsys):
    picture = folder / "data/images/002.png"
    good = picture.read_bytes()
    picture.write_bytes(b"not a picture")
    Image.new("RGB", (48, 48)).save(folder / "data/images/003.png")  # of another size than its truth
    assert evaluate("output=out") == 1
    metrics = metrics_of(folder / "out")
    assert metrics["pictures"]["used"] == 3
    assert [one["key"] for one in metrics["pictures"]["skipped"]] == ["002", "003"]
    captured = capsys.readouterr()
    assert "3 pictures, 2 left out" in captured.out
    assert "002" in captured.err
    lines = [json.loads(line) for line in (folder / "out/per_image.jsonl").read_text().splitlines()]
    assert ["error" in line for line in lines] == [False, False, True, True, False]

    picture.write_bytes(good)
    assert evaluate("output=out") == 1
    assert metrics_of(folder / "out")["pictures"]["used"] == 4


def test_a_method_that_fails_on_a_picture(folder, monkeypatch):
    second = np.asarray(Image.open(folder / "data/images/001.png"))
    plain = CommandLineMethod.predict_batch

    def fails(self, images, vocabulary, *, tasks):
        if np.array_equal(images[0], second):
            raise DataError("this one is too odd.")
        return plain(self, images, vocabulary, tasks=tasks)

    monkeypatch.setattr(CommandLineMethod, "predict_batch", fails)
    assert evaluate("output=out", "evaluator=[mean_iou]") == 1
    assert metrics_of(folder / "out")["pictures"]["skipped"] == [
        {"key": "001", "reason": "this one is too odd."}
    ]


def test_no_measurement_of_speed_decides_how_numbers_are_rounded(folder, monkeypatch):
    used = []
    plain = CommandLineMethod.predict_batch

    def notes(self, images, vocabulary, *, tasks):
        used.append(chosen_backend(torch.float32))
        return plain(self, images, vocabulary, tasks=tasks)

    monkeypatch.setattr(CommandLineMethod, "predict_batch", notes)
    monkeypatch.setattr("ovseg.models.common.linear._fastest", lambda *_: pytest.fail("timed"))
    assert evaluate("output=out", "limit=2", "evaluator=mean_iou") == 0
    assert len(used) == 2
    assert len(set(used)) == 1


def test_a_longer_run_takes_up_a_shorter_one_and_a_shorter_one_is_refused(folder, capsys, monkeypatch):
    assert evaluate("output=out", "limit=2") == 0
    assert metrics_of(folder / "out")["pictures"]["used"] == 2
    asked = []
    plain = CommandLineMethod.predict_batch

    def counts(self, images, vocabulary, *, tasks):
        asked.append(len(images))
        return plain(self, images, vocabulary, tasks=tasks)

    monkeypatch.setattr(CommandLineMethod, "predict_batch", counts)
    assert evaluate("output=out") == 0
    assert asked == [1, 1, 1]
    assert metrics_of(folder / "out")["pictures"]["used"] == 5
    before = (folder / "out/metrics.json").read_bytes()
    assert evaluate("output=out", "limit=2") == 1
    assert "has records of more than the 2 pictures" in capsys.readouterr().err
    assert (folder / "out/metrics.json").read_bytes() == before
    assert evaluate("output=out", "limit=2", "resume=false") == 0
    assert metrics_of(folder / "out")["pictures"]["used"] == 2


def test_a_half_written_line_is_dropped_and_a_broken_one_is_not(folder, capsys):
    assert evaluate("output=out") == 0
    records = folder / "out/per_image.jsonl"
    whole, scores = records.read_text(), metrics_of(folder / "out")["scores"]
    (folder / "out/metrics.json").unlink()
    lines = whole.splitlines(keepends=True)
    records.write_text("".join(lines[:2]))
    (folder / "out/per_image.3.jsonl").write_text(lines[4] + lines[3][:100])
    with pytest.raises(DataError, match="holds a run that is not finished"):
        read_run(folder / "out")
    assert evaluate("output=out") == 0
    assert metrics_of(folder / "out")["scores"] == scores
    assert not (folder / "out/per_image.3.jsonl").exists()

    records.write_text("".join([lines[0], "{broken\n", *lines[2:]]))
    assert evaluate("output=out") == 1
    error = capsys.readouterr().err
    assert "per_image.jsonl: line 2 is damaged" in error
    assert "Remove that line" in error


def test_a_run_folder_can_be_read(folder):
    assert evaluate("output=out") == 0
    run = read_run(folder / "out")
    assert run.name == "out"
    assert list(run.records("mean_iou")) == [f"{number:03}" for number in range(5)]
    assert [line.index for line in run.lines] == list(range(5))
    assert run.predictions is None
    with pytest.raises(DataError, match="was not evaluated with 'other'"):
        run.records("other")
    with pytest.raises(DataError, match="is no run folder, but holds some"):
        read_run(folder)
    (folder / "out/metrics.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="has format 2, this ovseg reads 1"):
        read_run(folder / "out")


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["model.shade=2"], "method.node.shade: 1 -> 2"),
        (["tasks=[semantic]", "evaluator=[mean_iou]"], "protocol.tasks"),
        (["predictions=true"], "predictions: false -> true"),
    ],
)
def test_other_settings_are_refused(folder, extra, text, capsys):
    assert evaluate("output=out", "evaluator=[mean_iou]", "limit=1") == 0
    assert evaluate("output=out", "evaluator=[mean_iou]", "limit=1", *extra) == 1
    error = capsys.readouterr().err
    assert text in error
    assert "resume=false" in error


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["dataset.root=nowhere"], "nowhere"),
        (["dataset=ade20k"], "Download ADE20K"),
        (["dataset=ade20"], "dataset=ade20: there is no such option. Did you mean 'ade20k'?"),
        (["evaluator=[mean_iuo]"], "evaluator=mean_iuo: there is no such option. Did you mean 'mean_iou'?"),
        (["vocabulary=voc_2"], "vocabulary=voc_2: there is no such option. Did you mean 'voc_2"),
        (
            ["recipe=fclip-voc_20"],
            "recipe=fclip-voc_20: there is no such option. Did you mean 'fcclip-voc_20'",
        ),
        (["vocabulary=voc_20"], "has the 4 classes of 'data', the vocabulary 'voc_20' has 20."),
        (["+vocabulary.names=trident"], "are no built-in list, so they have no variants"),
        (["tasks=[semantic]", "evaluator=[panoptic_quality]"], "needs panoptic predictions"),
        (["limit=0"], "limit=0: must be at least 1"),
        (["runtime.workers=-1"], "workers=-1: must be at least 0"),
        (["evaluator=[mean_iou]", "evaluator.mean_iou.resample=3"], "'evaluator.mean_iou.resamples'?"),
        (["model.shdae=2"], "Did you mean 'model.shade'?"),
    ],
)
def test_a_mistake_is_one_clean_message(folder, extra, text, capsys):
    root = [] if any(word.startswith("dataset") for word in extra) else words(Path("data"))
    code = main(["evaluate", "--config-dir", "conf", "model=fake", "output=out", *root, *extra])
    captured = capsys.readouterr()
    assert code == 1
    assert captured.out == ""
    assert text in captured.err
    assert "Traceback" not in captured.err
    assert not (folder / "out").exists()


def test_a_data_set_of_index_maps_has_one_evaluator(folder, capsys):
    (folder / "maps").mkdir()
    (folder / "maps/classes.txt").write_text("cat\nstuff:grass\n")
    put_picture(folder / "maps/images/a.png", (32, 32))
    put_map(folder / "maps/labels/a.png", np.zeros((32, 32), int))
    given = ["dataset=folder", "dataset.root=maps", "output=out"]
    assert evaluate(*given, data=False) == 0
    metrics = metrics_of(folder / "out")
    assert list(metrics["scores"]) == ["mean_iou"]
    assert metrics["protocol"]["tasks"] == ["semantic"]
    assert evaluate(*given, "evaluator=[panoptic_quality]", data=False) == 1
    assert "evaluator=panoptic_quality needs panoptic truth" in capsys.readouterr().err


def test_several_runs_of_one_command(folder):
    assert evaluate("-m", "model.shade=1,2", "output='out/${model.shade}'", "evaluator=mean_iou") == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["1", "2"]


def test_help_describes_keys_groups_and_examples(capsys):
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    for key in ("output", "limit", "tasks", "resume", "predictions", "evaluator", "runtime.*", "dataset.*"):
        assert f"\n  {key} " in out
    assert "\n  dataset: ade20k, " in out


def test_cfg_prints_the_config(folder, capsys):
    given = ["evaluate", "--cfg", "job", "model=trident", "dataset=voc20", "-p"]
    assert main([*given, "vocabulary"]) == 0
    assert "name: voc_20\nnames: trident" in capsys.readouterr().out


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the COCO pictures are not here (OVSEG_TEST_DATA)")
def test_the_golden_fcclip_on_coco(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "cache"))
    write_tiny_fcclip(tmp_path / "conf")
    given = ["dataset=coco_panoptic", f"dataset.root={COCO_MINI}", "limit=2", "runtime.workers=0"]
    few = "vocabulary.templates=['a photo of a {}.']"
    assert main(["evaluate", "--config-dir", "conf", "model=tiny_fcclip", "output=out", few, *given]) == 0
    metrics = metrics_of(tmp_path / "out")
    assert list(metrics["scores"]) == ["average_precision", "mean_iou", "panoptic_quality"]
    assert all(metrics["is_seen"])
    assert metrics["protocol"]["vocabulary"]["names"] == "fcclip"
    assert len(metrics["method"]["weights"]["sha256"]) == 64
    assert {"text", "backbone"} <= metrics["time"]["stages"].keys()
