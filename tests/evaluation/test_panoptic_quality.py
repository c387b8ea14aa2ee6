"""Panoptic quality: each rule by hand, and all of them against a slow loop over pixels and segments."""

import dataclasses
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from helpers.drawn_segments import NEVER, SUBJECT, UNSEEN, VOCABULARY, draw, panoptic, panoptic_pair

from ovseg.errors import DataError
from ovseg.evaluation.panoptic_quality import PanopticQuality
from ovseg.truth import PanopticTruth, TrueSegment

CAT, DOG, COW, SKY, SEA = range(5)


def metric(subject=SUBJECT, resamples=0):
    return PanopticQuality(subject=subject, resamples=resamples)


def measured(drawn):
    """Class -> (iou, tp, fp, fn)."""
    record = metric().measure(drawn.prediction, drawn.truth)
    rows = zip(*(record[column] for column in ("iou", "tp", "fp", "fn")), strict=True)
    return dict(zip(record["classes"], rows, strict=True))


def by_loops(drawn):
    """The rules again, segment by segment: class -> [iou, tp, fp, fn]."""
    true, found = drawn.truth.panoptic, drawn.prediction.panoptic
    common = Counter(zip(true.ids.ravel().tolist(), found.ids.numpy().ravel().tolist(), strict=True))
    area = Counter(true.ids.ravel().tolist())
    area_found = Counter(found.ids.numpy().ravel().tolist())
    counts = defaultdict(lambda: [0.0, 0, 0, 0])
    matched, right = set(), set()
    for segment in true.segments:
        for other in found.segments:
            if segment.is_crowd or segment.label != other.label:
                continue
            both = common[segment.id, other.id]
            iou = both / (area[segment.id] + area_found[other.id] - both - common[0, other.id])
            if iou > 0.5:
                counts[segment.label][0] += iou
                counts[segment.label][1] += 1
                matched.add(segment.id)
                right.add(other.id)
    crowd_of_class = {}
    for segment in true.segments:
        if segment.id not in matched:
            if segment.is_crowd:
                crowd_of_class[segment.label] = segment.id
            else:
                counts[segment.label][3] += 1
    for other in found.segments:
        if other.id not in right:
            excused = common[0, other.id]
            if other.label in crowd_of_class:
                excused += common[crowd_of_class[other.label], other.id]
            if excused / area_found[other.id] <= 0.5:
                counts[other.label][2] += 1
    return {label: tuple(row) for label, row in counts.items()}


def scores(records, subject=SUBJECT):
    evaluator = metric(subject)
    for record in records:
        evaluator.update(record)
    return evaluator.compute()


@pytest.mark.parametrize("seed", range(25))
def test_a_picture_against_loops(seed):
    drawn = draw(seed)
    found, expected = measured(drawn), by_loops(drawn)
    assert found.keys() == expected.keys()
    for label, row in expected.items():
        assert found[label][1:] == row[1:]
        assert found[label][0] == pytest.approx(row[0], abs=1e-14)


def test_the_loops_meet_every_rule():
    rows = [row for seed in range(25) for row in by_loops(draw(seed)).values()]
    assert all(np.array(rows).astype(bool).any(axis=0))
    with_crowds = sum(by_loops(draw(seed)) != by_loops(without_crowds(draw(seed))) for seed in range(25))
    assert with_crowds > 3


def without_crowds(drawn):
    true = drawn.truth.panoptic
    segments = tuple(segment for segment in true.segments if not segment.is_crowd)
    return dataclasses.replace(
        drawn, truth=dataclasses.replace(drawn.truth, panoptic=PanopticTruth(true.ids, segments))
    )


def test_means_against_loops():
    pictures = [draw(seed) for seed in range(8)]
    found = scores([metric().measure(drawn.prediction, drawn.truth) for drawn in pictures])
    total = defaultdict(lambda: np.zeros(4))
    for drawn in pictures:
        for label, row in by_loops(drawn).items():
            total[label] += row
    members = {
        "": range(6),
        "/things": (CAT, DOG, COW, NEVER),
        "/stuff": (SKY, SEA),
        "/seen": (CAT, COW, SKY),
        "/unseen": (DOG, SEA, NEVER),
    }
    for suffix, labels in members.items():
        # `NEVER` occurs nowhere, so it is in no mean.
        there = [total[label] for label in labels if label in total]
        pq = np.mean([iou / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in there])
        sq = np.mean([iou / tp if tp else 0 for iou, tp, fp, fn in there])
        rq = np.mean([tp / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in there])
        ours = [found.values[name + suffix] for name in ("PQ", "SQ", "RQ")]
        assert ours == pytest.approx([100 * pq, 100 * sq, 100 * rq], rel=1e-12)
    seen, unseen = found.values["PQ/seen"], found.values["PQ/unseen"]
    assert found.values["PQ/harmonic"] == pytest.approx(2 / (1 / seen + 1 / unseen))
    assert next(iter(found.values)) == "PQ"
    assert [math.isnan(value) for value in found.per_class["PQ"]] == [False] * 5 + [True]


def test_iou_of_one_half_is_no_match():
    half = panoptic_pair(["1100"], {1: CAT}, ["1000"], {1: CAT})
    assert measured(half) == {CAT: (0.0, 0, 1, 1)}
    more = panoptic_pair(["1110"], {1: CAT}, ["1100"], {1: CAT})
    assert measured(more) == {CAT: (2 / 3, 1, 0, 0)}


def test_predicted_pixels_on_void_leave_the_union_and_predicted_nothing_does_not():
    on_void = panoptic_pair(["1100"], {1: CAT}, ["1111"], {1: CAT})
    assert measured(on_void) == {CAT: (1.0, 1, 0, 0)}
    nothing = panoptic_pair(["1111"], {1: CAT}, ["1110"], {1: CAT})
    assert measured(nothing) == {CAT: (3 / 4, 1, 0, 0)}


def test_an_unmatched_prediction_is_excused_by_more_than_half_of_void():
    more = panoptic_pair(["0001"], {1: DOG}, ["1111"], {1: CAT})
    assert measured(more) == {DOG: (0.0, 0, 0, 1)}
    half = panoptic_pair(["0011"], {1: DOG}, ["1111"], {1: CAT})
    assert measured(half) == {CAT: (0.0, 0, 1, 0), DOG: (0.0, 0, 0, 1)}


def test_a_crowd_is_no_miss_and_excuses_its_own_class():
    assert measured(panoptic_pair(["1111"], {1: (CAT, "crowd")}, ["1111"], {1: CAT})) == {}
    assert measured(panoptic_pair(["1111"], {1: (CAT, "crowd")}, ["1111"], {1: DOG})) == {DOG: (0.0, 0, 1, 0)}
    with_void = panoptic_pair(["0011"], {1: (CAT, "crowd")}, ["1111"], {1: CAT})
    assert measured(with_void) == {}


def test_of_several_crowds_of_a_class_the_last_one_excuses():
    pair = (["111122"], {1: (CAT, "crowd"), 2: (CAT, "crowd")}, ["111122"], {1: CAT, 2: CAT})
    assert measured(panoptic_pair(*pair)) == {CAT: (0.0, 0, 1, 0)}


def test_ids_that_the_truth_does_not_list_are_not_void():
    assert measured(panoptic_pair(["3333"], {}, ["1111"], {1: CAT})) == {CAT: (0.0, 0, 1, 0)}


def test_a_true_segment_without_pixels_is_missed():
    assert measured(panoptic_pair(["0000"], {1: CAT}, ["0000"], {})) == {CAT: (0.0, 0, 0, 1)}


def test_nothing_predicted_and_nothing_true():
    assert measured(panoptic_pair(["1122"], {1: CAT, 2: SKY}, ["0000"], {})) == {
        CAT: (0.0, 0, 0, 1),
        SKY: (0.0, 0, 0, 1),
    }
    all_void = panoptic_pair(["0000"], {}, ["1122"], {1: CAT, 2: SKY})
    assert measured(all_void) == {}
    found = scores([metric().measure(all_void.prediction, all_void.truth)])
    assert found.pictures == 1
    assert all(math.isnan(value) for value in found.values.values())


def test_ids_of_both_maps_need_no_order():
    pair = panoptic_pair(["9955"], {5: CAT, 9: DOG}, ["3377"], {7: CAT, 3: DOG})
    assert measured(pair) == {CAT: (1.0, 1, 0, 0), DOG: (1.0, 1, 0, 0)}


def test_divisions_with_an_empty_side_are_left_out():
    found = scores([], UNSEEN).values
    assert "PQ/things" in found
    assert not {"PQ/seen", "PQ/unseen", "PQ/harmonic"} & found.keys()


def test_refusals():
    pair = panoptic_pair(["1122"], {1: CAT, 2: DOG}, ["1122"], {1: CAT, 2: DOG})
    measure = metric().measure

    def with_segments(label_of_id):
        ids = pair.prediction.panoptic.ids.numpy()
        return dataclasses.replace(pair.prediction, panoptic=panoptic(ids, label_of_id))

    with pytest.raises(DataError, match="2 pixels whose id belongs to no listed segment"):
        measure(with_segments({1: CAT}), pair.truth)
    with pytest.raises(DataError, match="predicted segment 8 has no pixel"):
        measure(with_segments({1: CAT, 8: CAT, 2: DOG}), pair.truth)
    with pytest.raises(DataError, match=r"The prediction has the label 6\. Labels count .* from 0 to 5"):
        measure(with_segments({1: CAT, 2: 6}), pair.truth)
    wrong = PanopticTruth(pair.truth.panoptic.ids, (TrueSegment(1, -1), TrueSegment(2, DOG)))
    with pytest.raises(DataError, match="The truth has the label -1"):
        measure(pair.prediction, dataclasses.replace(pair.truth, panoptic=wrong))
    with pytest.raises(DataError, match="no panoptic truth"):
        measure(pair.prediction, dataclasses.replace(pair.truth, panoptic=None))
    with pytest.raises(DataError, match=r"no panoptic view\. Add 'panoptic' to tasks"):
        measure(dataclasses.replace(pair.prediction, panoptic=None), pair.truth)
    other = panoptic_pair(["11", "22"], {1: CAT, 2: DOG}, ["11", "22"], {1: CAT, 2: DOG})
    with pytest.raises(DataError, match=r"The prediction has 1 x 4 pixels .* the truth 2 x 2"):
        measure(pair.prediction, other.truth)
    with pytest.raises(DataError, match=r"The prediction is of 6 classes \('drawn'\), the data set has 5"):
        dataclasses.replace(measure, class_count=len(VOCABULARY) - 1)(pair.prediction, pair.truth)
