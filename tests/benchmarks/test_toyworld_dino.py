"""Toyworld's DINO: views and masks, the losses, a run resumes, the file loads."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.toyworld_benchmarks import NoisyCorpus, find_scripts

from ovseg.models.dino.encoder import dino
from ovseg.weights.shipped import FOLDER

find_scripts()
import dino as script  # noqa: E402
from dino_measure import measure, raw_patches  # noqa: E402
from dino_model import (  # noqa: E402
    CENTRE_MOMENTUM,
    PROTOTYPES,
    Centre,
    between_views,
    follow,
    normalised,
    rising,
)
from dino_views import ViewSizes, draw_mask, draw_views  # noqa: E402
from export import export  # noqa: E402
from loop import fit  # noqa: E402

SMALL = ViewSizes(large=64, small=32, small_count=2)


def training(iterations: int = 4) -> script.Training:
    student, teacher = script.build_model()
    return script.Training(
        student=student,
        teacher=teacher,
        corpus=NoisyCorpus(3, 96),
        iterations=iterations,
        pictures=2,
        sizes=SMALL,
    )


def test_views_are_as_many_and_as_large_as_asked_for() -> None:
    large, small = draw_views(NoisyCorpus(1, 96).image(0), SMALL, np.random.RandomState(0))
    assert large.shape == (2, 64, 64, 3)
    assert small.shape == (2, 32, 32, 3)
    assert (large[0] != large[1]).any()


def test_masks_hide_a_tenth_to_more_than_a_half() -> None:
    random = np.random.RandomState(0)
    shares = [draw_mask(11, random).mean() for _ in range(200)]
    assert min(shares) >= 0.1
    assert max(shares) < 0.75
    assert np.std(shares) > 0.08


def test_every_view_learns_from_the_other_large_ones() -> None:
    random = np.random.RandomState(0)
    wanted = torch.from_numpy(random.rand(3, 2, 5)).softmax(-1)
    cosines = torch.from_numpy(random.rand(3, 4, 5))
    total = []
    for teacher, student in ((0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)):
        logs = (cosines[:, student] / 0.1).softmax(-1).log()
        total.append(-(wanted[:, teacher] * logs).sum(-1).mean())
    torch.testing.assert_close(between_views(wanted, cosines), torch.stack(total).mean())


def test_the_centre_is_taken_off_and_then_follows() -> None:
    centre = Centre()
    cosines = torch.from_numpy(np.random.RandomState(0).rand(6, PROTOTYPES)).float()
    torch.testing.assert_close(centre.sharpened(cosines, 0.05), (cosines / 0.05).softmax(-1))
    moved = (1 - CENTRE_MOMENTUM) * cosines.mean(0)
    torch.testing.assert_close(centre.mean, moved)
    torch.testing.assert_close(centre.sharpened(cosines, 0.05), ((cosines - moved) / 0.05).softmax(-1))


def test_the_teacher_moves_by_its_momentum() -> None:
    teacher, student = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    wanted = 0.75 * teacher.weight.detach() + 0.25 * student.weight.detach()
    follow(teacher, student, 0.75)
    torch.testing.assert_close(teacher.weight.detach(), wanted)
    assert [rising(share, 0.5, 1.0) for share in (0, 0.5, 1, 2)] == pytest.approx([0.5, 0.75, 1, 1])


def test_hidden_patches_say_nothing() -> None:
    student, _ = script.build_model()
    pictures = normalised(
        np.stack([NoisyCorpus(2, 64).image(place) for place in (0, 1)]), torch.device("cpu")
    )
    changed = pictures.clone()
    changed[:, :, :16, :16] = 0
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[:, 0] = True
    with torch.no_grad():
        torch.testing.assert_close(student.tokens(pictures, hidden), student.tokens(changed, hidden))
        assert (student.tokens(pictures) - student.tokens(changed)).abs().max() > 0.01


def test_a_run_that_was_cut_off_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    def run(folder: Path, *stops: int) -> dict[str, torch.Tensor]:
        for stop in stops:
            made = training()
            fit(made.step, made.parts, iterations=stop, folder=folder)
        return made.teacher.state_dict()

    torch.testing.assert_close(run(tmp_path / "cut", 1, 2), run(tmp_path / "whole", 2), rtol=0, atol=0)
    start = script.build_model()[1].state_dict()
    whole = run(tmp_path / "whole", 2)
    assert any(not torch.equal(start[key], value) for key, value in whole.items())


def test_the_exported_file_is_read_by_ovseg(tmp_path: Path) -> None:
    student, _ = script.build_model()
    path = export(student.backbone.state_dict(), "tiny", tmp_path)
    assert path.stat().st_size == pytest.approx(
        2 * sum(p.numel() for p in student.backbone.parameters()), rel=0.02
    )
    with torch.device("meta"):
        loaded = dino(architecture=str(FOLDER / f"{script.NAME}.json"), pretrained=None)
    loaded.load_weights(path)
    pixels = normalised(NoisyCorpus(1, 96).image(0)[None], torch.device("cpu"))
    with torch.no_grad():
        wanted = student.tokens(pixels)[0, 1:]
    found = loaded(pixels).dense[0].flatten(1).T
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)


def test_measures_are_of_cosines_between_patches() -> None:
    corpus = NoisyCorpus(2, 96)
    backbone = script.build_model()[0].backbone
    before = copy.deepcopy(backbone.state_dict())
    assert set(measure(backbone, corpus, 2)) == {"auc", "gap", "across"}
    assert backbone.pos_embed.requires_grad
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)
    # Segments of these pictures differ in brightness.
    assert raw_patches(corpus, 2)["auc"] > 0.6
    assert not math.isnan(raw_patches(corpus, 1)["gap"])
