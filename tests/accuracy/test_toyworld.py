"""What the shipped models score on a few pictures of toyworld: real numbers, which must not get worse.

The margin leaves room for other processors and versions of the libraries, which round differently.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

import ovseg
from ovseg.cli.main import main
from ovseg.data.toyworld.scene import draw_scene
from ovseg.data.toyworld.words import toyworld_vocabulary
from ovseg.interfaces import Method
from ovseg.models.common import merge, pixels

PICTURES = 16
MARGIN = 1.5
UNMOVED = 0.1

RECORDED: Mapping[str, Mapping[str, float]] = {
    "fcclip_toyworld": {"PQ": 69.0, "PQ/unseen": 35.9, "AP": 58.3, "mIoU": 75.3, "mIoU/unseen": 65.5},
    "trident_toyworld": {"PQ": 59.5, "PQ/unseen": 60.7, "AP": 50.3, "mIoU": 66.0, "mIoU/unseen": 67.3},
}
"""Percent on the first 16 pictures of the split val."""

METRICS = {
    "PQ": ("panoptic_quality", "PQ"),
    "PQ/unseen": ("panoptic_quality", "PQ/unseen"),
    "AP": ("average_precision", "AP"),
    "mIoU": ("mean_iou", "mIoU"),
    "mIoU/unseen": ("mean_iou", "mIoU/unseen"),
}


def evaluated(folder: Path, model: str, *words: str) -> dict[str, float]:
    """Percent by the names of `METRICS`."""
    told = ["dataset=toyworld", f"limit={PICTURES}", f"output={folder}", "runtime.workers=0"]
    assert main(["evaluate", f"model={model}", *told, *words]) == 0
    return scores(folder)


def scores(folder: Path) -> dict[str, float]:
    metrics = json.loads((folder / "metrics.json").read_text())
    return {
        title: metrics["scores"][evaluator]["values"][name] for title, (evaluator, name) in METRICS.items()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each model."""
    folder = tmp_path_factory.mktemp("toyworld")
    for model in RECORDED:
        evaluated(folder / model, model)
    return {model: folder / model for model in RECORDED}


@pytest.mark.parametrize("model", RECORDED)
def test_scores_are_not_below_what_was_recorded(runs: dict[str, Path], model: str) -> None:
    found = scores(runs[model])
    worse = {name: found[name] for name, value in RECORDED[model].items() if found[name] < value - MARGIN}
    assert not worse, f"recorded {RECORDED[model]}"


def test_a_run_that_was_cut_off_goes_on_to_the_same_numbers(runs: dict[str, Path], tmp_path: Path) -> None:
    whole = runs["fcclip_toyworld"]
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "metrics.json").unlink()
    lines = (folder / "per_image.jsonl").read_text().splitlines(keepends=True)
    (folder / "per_image.jsonl").write_text("".join(lines[: PICTURES // 2]) + lines[PICTURES // 2][:40])
    assert evaluated(folder, "fcclip_toyworld") == scores(whole)


def test_two_processes_give_the_numbers_of_one(runs: dict[str, Path], tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ovseg"]
    told = ["dataset=toyworld", f"limit={PICTURES}", f"output={tmp_path / 'run'}", "runtime.workers=0"]
    command = [sys.executable, *launcher, "evaluate", "model=fcclip_toyworld", *told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "run") == scores(runs["fcclip_toyworld"])


@pytest.mark.parametrize("model", RECORDED)
def test_small_tiles_do_not_move_the_numbers(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(merge, "TILE_VALUES", 1 << 14)
    monkeypatch.setattr(pixels, "STRIP_VALUES", 1 << 14)
    tiled, whole = evaluated(tmp_path / "run", model), scores(runs[model])
    assert tiled == pytest.approx(whole, abs=UNMOVED)


@pytest.mark.parametrize("model", RECORDED)
def test_a_picture_scores_the_same_in_a_batch(model: str) -> None:
    method = ovseg.load_method(model, text_cache=False)
    vocabulary = toyworld_vocabulary()
    pictures = [draw_scene("val", index, 256).image for index in range(3)]
    together = method.predict_batch(pictures, vocabulary, tasks=("semantic", "panoptic"))
    for picture, one in zip(pictures, together, strict=True):
        alone = method.predict(picture, vocabulary, tasks=("semantic", "panoptic"))
        assert alone.semantic is not None
        assert one.semantic is not None
        assert (alone.semantic != one.semantic).float().mean() < UNMOVED / 100
        assert alone.panoptic is not None
        assert one.panoptic is not None
        labels = [[segment.label for segment in view.segments] for view in (alone.panoptic, one.panoptic)]
        assert labels[0] == labels[1]


@pytest.mark.parametrize("model", RECORDED)
def test_bf16_changes_few_pixels(model: str) -> None:
    """It moves FC-CLIP by 0.04 PQ, 0.00 AP and 0.02 mIoU over 1000 pictures; few pictures say less."""
    method = ovseg.load_method(model, text_cache=False)
    vocabulary = toyworld_vocabulary()
    pictures = [draw_scene("val", index, 384).image for index in range(6)]
    exact = [method.predict(picture, vocabulary, tasks=("semantic",)).semantic for picture in pictures]
    for part in (method.backbone, method.mask_generator):
        if hasattr(part, "set_image_dtype"):
            part.set_image_dtype(torch.bfloat16)
    rough = [method.predict(picture, vocabulary, tasks=("semantic",)).semantic for picture in pictures]
    changed = [(a != b).float().mean() for a, b in zip(exact, rough, strict=True)]
    assert max(changed) > 0
    assert sum(changed) / len(changed) < 0.01  # recorded: 0.0033 and 0.0009


def test_a_class_that_no_caption_names_is_found_when_it_is_typed() -> None:
    method = ovseg.load_method("trident_toyworld", text_cache=False)
    hits = [_found(method, index) for index in range(6)]
    assert sum(hits) >= 3  # recorded: 4; at random it would be 0.5


def _found(method: Method, index: int) -> bool:
    """Whether the hidden thing in front of a picture of the split surprise is found among its neighbours."""
    scene = draw_scene("surprise", index, 384)
    front = scene.segments[-1]
    kind, colour = front.name.split()[-1], front.name.split()[-2]
    others = _variations(kind, colour, front.name)
    semantic = method.predict(scene.image, [front.name, *others], tasks=("semantic",)).semantic
    assert semantic is not None
    inside = semantic[torch.from_numpy(scene.ids == front.id)]
    return bool((inside == 0).float().mean() > 0.5)


def _variations(kind: str, colour: str, name: str) -> Sequence[str]:
    """Classes that differ from the hidden one in its kind or its colour alone, and stuff."""
    kinds = [name.replace(kind, other) for other in ("car", "fish", "cup", "star") if other != kind]
    colours = [name.replace(colour, other) for other in ("red", "green") if other != colour]
    return [*kinds, *colours, "stuff:sky", "stuff:grass", "stuff:sea", "stuff:brick wall", "stuff:carpet"]
