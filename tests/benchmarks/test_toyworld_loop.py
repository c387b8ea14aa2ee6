"""What toyworld's trainings share: pictures are drawn once, the loop saves, resumes and logs."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.toyworld_benchmarks import find_scripts

from ovseg.data.toyworld.scene import Scene, Segment, draw_scene

find_scripts()
import corpus as corpus_module  # noqa: E402
from corpus import Corpus  # noqa: E402
from loop import cosine, fit  # noqa: E402


class Drawing:
    """A world of one thing, which counts what is drawn."""

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def __call__(self, split: str, index: int, *, size: int) -> Scene:
        self.drawn.append(index)
        ids = np.full((size, size), 1 + index % 2, np.int32)
        pixels = np.full((size, size, 3), index, np.uint8)
        return Scene(pixels, ids, (Segment(1 + index % 2, split, False, (0, 0, size, index)),))


def test_a_corpus_is_what_was_drawn(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(corpus_module, "PART", 2)
    corpus = Corpus("val", 3, 32, tmp_path, processes=1)
    assert len(corpus) == 3
    for index in (0, 2):
        scene = draw_scene("val", index, size=32)
        assert np.array_equal(corpus.image(index), scene.image)
        assert np.array_equal(corpus.ids(index), scene.ids)
        assert corpus.segments(index) == scene.segments


def test_only_what_is_lacking_is_drawn(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(corpus_module, "PART", 2)
    drawing = Drawing()
    Corpus("val", 4, 8, tmp_path, processes=1, draw=drawing)
    assert drawing.drawn == [0, 1, 2, 3]
    (tmp_path / "val-8" / "segments-0001.json").unlink()
    corpus = Corpus("val", 5, 8, tmp_path, processes=1, draw=drawing)
    assert drawing.drawn[4:] == [2, 3, 4, 5]
    assert corpus.image(4).max() == 4
    Corpus("val", 5, 8, tmp_path, processes=1, draw=drawing)
    assert len(drawing.drawn) == 8


def train(folder: Path, *stops: int, minutes: float | None = None) -> torch.Tensor:
    for stop in stops:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimiser = torch.optim.AdamW(model.parameters())

        def step(iteration: int, model=model, optimiser=optimiser) -> dict[str, float]:
            for group in optimiser.param_groups:
                group["lr"] = cosine(iteration, 20, peak=0.1, warmup=5)
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(iteration))
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return {"loss": loss.item(), **({"late": 1.0} if iteration > 12 else {})}

        done = fit(
            step, {"a": model, "b": optimiser}, iterations=stop, folder=folder, log_every=5, minutes=minutes
        )
        assert done == stop or minutes is not None
    return model.weight.detach()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
        ]


def test_a_run_that_was_cut_off_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    whole, parts = train(tmp_path / "a", 20), train(tmp_path / "b", 10, 20)
    assert torch.equal(whole, parts)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert [row["iteration"] for row in rows(tmp_path / "a")] == ["5", "10", "15", "20"]
    assert [row["late"] for row in rows(tmp_path / "a")] == ["", "", "1", "1"]


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    train(tmp_path, 10)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("15,0,9.9\n")
    train(tmp_path, 20)
    assert [row["iteration"] for row in rows(tmp_path)] == ["5", "10", "15", "20"]
    assert rows(tmp_path)[2]["loss"] != "9.9"


def test_a_call_keeps_to_its_minutes(tmp_path: Path) -> None:
    train(tmp_path, 20, minutes=0.0)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["iteration"] == 1


def test_rates_rise_and_fall() -> None:
    rates = [cosine(iteration, 100, peak=2.0, warmup=10) for iteration in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(2.0 * 0.505)
    assert rates[100] == pytest.approx(0.02)
