"""Toyworld's SAM: prompts mean their masks, the losses are the formulas, a run resumes, the file loads."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.toyworld_benchmarks import NoisyCorpus, find_scripts

from ovseg.models.common.global_attention import attention_weights
from ovseg.models.sam.architecture import SamSize, sam_size
from ovseg.models.sam.build import sam
from ovseg.models.sam.prompted import Sam
from ovseg.types import MaskPrompts
from ovseg.weights.shipped import FOLDER

find_scripts()
import sam as script  # noqa: E402
from export import export  # noqa: E402
from loop import fit  # noqa: E402
from sam_measure import central_point, measure  # noqa: E402
from sam_model import correlation_loss, grouping_loss, losses, mask_loss  # noqa: E402
from sam_prompts import (  # noqa: E402
    CELL,
    KINDS,
    box_of,
    coarse_map,
    coarse_region,
    correction,
    draw_prompts,
    draw_targets,
    noisy_box,
    random_point,
)

TINY = SamSize(
    embed_dim=16,
    depth=1,
    num_heads=2,
    global_attn=(0,),
    prompt_dim=16,
    dec_mlp=16,
    dec_heads=2,
    image_size=128,
)


def disc(side: int = 32) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (x - 12) ** 2 + (y - 18) ** 2 < 40


def training() -> script.Training:
    return script.Training(model=script.build_model(TINY), corpus=NoisyCorpus(3, 128), prompts=2)


def test_things_are_whole_and_stuff_is_the_part_that_hangs_together() -> None:
    ids = np.ones((32, 32), np.uint8)
    ids[:, 15:17] = 2  # cuts the stuff in two
    ids[4:8, 4:8] = ids[20:24, 20:24] = 3  # a thing in two parts
    truth, others = draw_targets(ids, frozenset([2, 3]), 12, np.random.RandomState(0))
    assert truth.shape == others.shape == (12, 32, 32)
    areas = {int(mask.sum()) for mask in truth}
    assert areas == {64, 32, 15 * 32 - 16}


def test_points_and_boxes_lie_where_the_mask_does() -> None:
    random, mask = np.random.RandomState(0), disc()
    for _ in range(20):
        x, y = random_point(mask, random) // CELL
        assert mask[int(y), int(x)]
    rows, columns = np.nonzero(mask.repeat(CELL, 0).repeat(CELL, 1))
    np.testing.assert_array_equal(box_of(mask), [columns.min(), rows.min(), columns.max(), rows.max()])
    boxes = np.stack([noisy_box(mask, random) for _ in range(500)])
    off = boxes - box_of(mask)
    assert 0.05 < (off / (box_of(mask)[2] - box_of(mask)[0])).std() < 0.15
    assert abs(off).max() <= 20


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_prompt_has_its_parts(kind: str) -> None:
    truth = np.stack([disc(), ~disc()])
    found = draw_prompts(kind, truth, truth[::-1], np.random.RandomState(0))
    assert (found.points is not None) == (kind != "box")
    assert (found.boxes is not None) == (kind != "point")
    assert (found.masks is not None) == (kind == "coarse")
    for part, shape in ((found.points, (2, 1, 2)), (found.boxes, (2, 4)), (found.masks, (2, 32, 32))):
        assert part is None or (part.shape == shape and part.dtype == np.float32)


def test_coarse_maps_look_like_the_mask() -> None:
    random, mask = np.random.RandomState(0), disc()
    maps = [coarse_map(mask, np.zeros_like(mask), random) for _ in range(50)]
    assert all(likely.min() >= 0 and likely.max() <= 1 for likely in maps)
    assert np.mean([likely[mask].mean() - likely[~mask].mean() for likely in maps]) > 0.3
    likely = np.zeros((32, 32), np.float32)
    likely[16:20, 10:14] = 0.9
    likely[0:3, 0:9] = 0.9
    np.testing.assert_array_equal(np.argwhere(coarse_region(likely, mask)).min(0), [16, 10])
    np.testing.assert_array_equal(coarse_region(np.zeros((32, 32)), mask), mask)


def test_a_correction_is_where_the_answer_was_wrong() -> None:
    truth = np.stack([disc(), disc(), disc()])
    answer = truth.copy()
    answer[0, 0, 0] = True  # too much
    answer[1, 18, 12] = False  # too little
    points, labels = correction(answer, truth, np.random.RandomState(0))
    assert labels[:, 0].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(points[:2, 0] // CELL, [[0, 0], [12, 18]])
    x, y = (points[2, 0] // CELL).astype(int)
    assert truth[2, y, x]


def test_mask_losses_are_the_formulas() -> None:
    logits = torch.from_numpy(np.random.RandomState(0).randn(2, 1, 4, 4))
    truth = torch.zeros(2, 4, 4, dtype=torch.bool)
    truth[0, :2], truth[1, 0, 0] = True, True
    p, y = logits[:, 0].sigmoid(), truth.double()
    right = torch.where(truth, p, 1 - p)
    focal = -(torch.where(truth, 0.25, 0.75) * (1 - right) ** 2 * right.log()).mean((1, 2))
    dice = 1 - (2 * (p * y).sum((1, 2)) + 1) / (p.sum((1, 2)) + y.sum((1, 2)) + 1)
    torch.testing.assert_close(mask_loss(logits, truth, balanced=0.0)[:, 0], 20 * focal + dice)
    halves = [-0.5 * (right[i][truth[i]].log().mean() + right[i][~truth[i]].log().mean()) for i in (0, 1)]
    torch.testing.assert_close(mask_loss(logits, truth, balanced=1.0)[:, 0], torch.stack(halves) + dice)


def test_only_the_best_of_three_masks_learns() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.bool)
    truth[:, :2] = True
    good = torch.where(truth, 3.0, -3.0)
    logits = torch.stack([-good, good, torch.full_like(good, -3)], 1).requires_grad_()
    loss, error, ious = losses(logits, torch.tensor([[0.0, 1, 0.5]]), truth, balanced=0.0)
    assert ious.tolist() == [[0, 1, 0]]
    assert error.item() == pytest.approx(0.25 / 3)
    loss.backward()
    assert logits.grad is not None
    assert [bool(logits.grad[0, place].any()) for place in range(3)] == [False, True, False]


def test_grouping_loss_wants_one_direction_per_segment() -> None:
    segments = torch.tensor([[1, 1], [2, 2]])
    right = torch.tensor([[1.0, 1, -1, -1], [0, 0, 0, 0]]).view(1, 2, 2, 2)
    wrong = torch.tensor([[1.0, -1, 1, -1], [0, 0, 0, 0]]).view(1, 2, 2, 2)
    assert grouping_loss(right, segments) < 0.01
    assert grouping_loss(wrong, segments) > 3


def test_stages_follow_one_another() -> None:
    assert script.stage_of(0) == (script.STAGES[0], 0)
    assert script.stage_of(script.STAGES[0].iterations + 5) == (script.STAGES[1], 5)
    with pytest.raises(ValueError, match=str(script.ITERATIONS)):
        script.stage_of(script.ITERATIONS)


def test_a_run_that_was_cut_off_goes_on_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "STAGES", (script.Stage(1, 6e-4, None), script.Stage(1, 3e-4, 2.0)))

    def run(folder: Path, *stops: int) -> dict[str, torch.Tensor]:
        for stop in stops:
            made = training()
            fit(made.step, {"model": made.model, "optimiser": made.optimiser}, iterations=stop, folder=folder)
        return made.model.state_dict()

    torch.testing.assert_close(run(tmp_path / "cut", 1, 2), run(tmp_path / "whole", 2), rtol=0, atol=0)
    start = script.build_model(TINY).state_dict()
    assert any(not torch.equal(start[key], value) for key, value in run(tmp_path / "whole", 2).items())


def test_the_exported_file_answers_as_the_trained_model(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(
        '{"embed_dim": 16, "depth": 1, "num_heads": 2, "global_attn": [0], "prompt_dim": 16, "dec_mlp": 16, '
        '"dec_heads": 2, "image_size": 128}'
    )
    model = script.build_model(TINY)
    path = export(model.state_dict(), "tiny", tmp_path)
    with torch.device("meta"):
        loaded = sam(architecture=str(tmp_path / "tiny.json"), checkpoint=None, mask_prompt="batched")
    loaded.load_weights(path)
    truth = np.stack([disc()])
    prompts = draw_prompts("coarse", truth, truth, np.random.RandomState(0))
    picture = NoisyCorpus(1, 128).image(0)
    assert prompts.points is not None
    given = MaskPrompts(
        points=torch.from_numpy(prompts.points[:, 0]),
        boxes=torch.from_numpy(prompts.boxes),
        masks=torch.from_numpy(prompts.masks),
    )
    features = loaded.encode(picture)
    with torch.no_grad():
        logits, quality = model.answer(features.dense, prompts)
        embedding, _ = model.embed(picture[None])
    torch.testing.assert_close(features.dense, embedding, rtol=0, atol=0.1)  # trained in bf16
    found = loaded(features, given)
    torch.testing.assert_close(found.logits[0], logits[:, 0], rtol=0, atol=0.02)
    torch.testing.assert_close(found.scores[0], quality[:, 0], rtol=0, atol=0.02)


def test_the_last_attention_is_the_one_that_trident_reads() -> None:
    model = script.build_model(TINY).eval()
    for table in (
        model.image_encoder.blocks[-1].attn.rel_pos_h,
        model.image_encoder.blocks[-1].attn.rel_pos_w,
    ):
        torch.nn.init.normal_(table)  # the package begins with zeros
    loaded = Sam(
        image_encoder=model.image_encoder,
        prompt_encoder=model.prompt_encoder,
        mask_decoder=model.mask_decoder,
        size=TINY,
        weights_name=None,
        mask_prompt="batched",
    )
    picture = NoisyCorpus(1, 128).image(0)
    with torch.no_grad():
        log_weights, values = model.last_attention(model.embed(picture[None])[1])
        seen = loaded.encode(picture).last_attention
        assert seen is not None
        heads = [attention_weights(seen, 0, head)(slice(0, 64)) for head in range(TINY.num_heads)]
    torch.testing.assert_close(log_weights.exp(), sum(heads) / len(heads), rtol=0, atol=5e-3)
    torch.testing.assert_close(values, seen.values[0], rtol=0, atol=0.05)  # trained in bf16


def test_attention_to_whole_segments_and_to_nothing_else_is_the_least_loss() -> None:
    segments = torch.tensor([[1, 1, 2, 2], [1, 1, 1, 2]])
    same = (segments.flatten()[:, None] == segments.flatten()).float()
    whole = (same / same.sum(1, keepdim=True)).clamp(min=1e-8).log()
    apart = torch.nn.functional.one_hot(segments.flatten(), 3).float()
    best = correlation_loss(whole, apart[None], segments, reach=math.inf)
    values_alone = grouping_loss(apart.T.unflatten(1, segments.shape)[None], segments)
    assert best == pytest.approx(values_alone.item(), abs=1e-5)
    itself = torch.eye(8).clamp(min=1e-8).log()
    everywhere = torch.full((8, 8), 1 / 8).log()
    # From a uniform look at everything to one at 5 and at 3 of 8 places, both segments counting the same.
    expected = 0.5 * (np.log(8 / 5) + np.log(8 / 3))
    worse = correlation_loss(everywhere, apart[None], segments, reach=math.inf)
    assert (worse - best).item() == pytest.approx(expected)
    assert correlation_loss(itself, apart[None], segments, reach=math.inf) > best + 1
    assert correlation_loss(itself, apart[None], segments, reach=0.5) == pytest.approx(best.item(), abs=1e-5)


def test_measures_have_seen_and_unseen_apart() -> None:
    found = measure(script.build_model(TINY), NoisyCorpus(2, 128), 2, thorough=True)
    assert {"point", "box_seen_stuff", "coarse_unseen_things", "auc_attention", "auc_correlation"} <= set(
        found
    )
    assert not any(key.endswith("seen_things") and "unseen" not in key for key in found)
    assert all(0 <= value <= 100 for key, value in found.items() if "predicted" not in key)


def test_the_central_point_is_the_farthest_from_the_border() -> None:
    np.testing.assert_array_equal(central_point(disc()), [12, 18])


def test_the_shipped_architecture_is_one() -> None:
    assert sam_size(str(FOLDER / "toyworld_sam.json")).image_size == 384
