"""Cityscapes' average precision against cityscapesScripts: its stored numbers, and itself where installed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.drawn_instances import prediction_of, run_lengths
from helpers.drawn_streets import LABELS, SIZE, VOCABULARY, draw_street, truth_of
from PIL import Image

from ovseg.errors import DataError
from ovseg.evaluation.cityscapes_ap import CityscapesAP
from ovseg.evaluation.subject import Subject
from ovseg.truth import IGNORED, PanopticTruth, TrueInstance, Truth

GOLDEN = Path(__file__).parents[1] / "golden/metrics/cityscapes_ap.json"
CAR = 26
COUNT = 10


def evaluator(*, resamples=0):
    return CityscapesAP(subject=Subject(VOCABULARY, (True,) * 13 + (False,) * 6), resamples=resamples)


def records_of(streets):
    measure = evaluator().measure
    return [{**measure(street.prediction, street.truth), "picture": at} for at, street in enumerate(streets)]


def scores_of(streets, **settings):
    metric = evaluator(**settings)
    for record in records_of(streets):
        metric.update(record)
    return metric.compute()


def streets_of(seed, count=COUNT):
    return [draw_street(100 * seed + number, predicted=4 * number) for number in range(count)]


def ap_of(predicted, ids):
    """AP and AP50 of cars, for masks and scores of predicted ones."""
    masks = np.stack([mask for mask, _ in predicted]) if predicted else np.zeros((0, *SIZE))
    prediction = prediction_of(
        masks, [LABELS[CAR]] * len(masks), [score for _, score in predicted], VOCABULARY
    )
    metric = evaluator()
    metric.update(metric.measure(prediction, truth_of(ids)))
    scores = metric.compute()
    return scores.values["AP"], scores.values["AP50"]


def box(top, left, height, width):
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def road(*cars, fill=7):
    """Instance ids: cars, numbered from 1, on road or something else."""
    ids = np.full(SIZE, fill)
    for number, mask in enumerate(cars, start=1):
        ids[mask] = CAR * 1000 + number
    return ids


@pytest.mark.parametrize("seed", range(3))
def test_golden_numbers_of_the_published_code(seed):
    expected = json.loads(GOLDEN.read_text())[str(seed)]

    scores = scores_of(streets_of(seed))

    assert scores.values["AP"] == pytest.approx(100 * expected["AP"], abs=1e-10)
    assert scores.values["AP50"] == pytest.approx(100 * expected["AP50"], abs=1e-10)
    for name, (ap, ap50) in expected["classes"].items():
        label = [entry.name for entry in VOCABULARY.classes].index(name)
        for metric, value in (("AP", ap), ("AP50", ap50)):
            wanted = math.nan if value is None else 100 * value
            assert scores.per_class[metric][label] == pytest.approx(wanted, abs=1e-10, nan_ok=True)


@pytest.mark.parametrize("seed", range(2))
def test_equals_cityscapesscripts_itself(seed, tmp_path, monkeypatch):
    pytest.importorskip("cityscapesscripts")
    streets = streets_of(10 + seed, count=6)

    published = cityscapesscripts_says(streets, tmp_path, monkeypatch)

    scores = scores_of(streets)
    assert scores.values["AP"] == pytest.approx(100 * published["allAp"], abs=1e-10)
    assert scores.values["AP50"] == pytest.approx(100 * published["allAp50%"], abs=1e-10)


def cityscapesscripts_says(streets, folder, monkeypatch):
    """Its averages; pictures are given to it as files."""
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as published
    from cityscapesscripts.evaluation.instances2dict import instances2dict

    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # it asks for what NumPy 2.4 took away
    args = published.args
    published.setInstanceLabels(args)
    matches = {}
    for number, street in enumerate(streets):
        path = folder / f"{number}_instanceIds.png"
        Image.fromarray(street.ids.astype(np.uint16)).save(path)
        true = published.filterGtInstances(instances2dict(str(path))[str(path)], args)
        info = {}
        found = street.prediction.instances
        for index, (mask, score) in enumerate(zip(found.masks, found.scores, strict=True)):
            mask_path = folder / f"{number}_{index}.png"
            Image.fromarray(mask.numpy().astype(np.uint8)).save(mask_path)
            info[str(mask_path)] = {"labelID": street.classes[index], "conf": float(score)}
        with Image.open(path) as image:
            gt, predicted = published.assignGt2Preds(true, image, info, args)
        matches[str(path)] = {"groundTruth": gt, "prediction": predicted}
    return published.computeAverages(published.evaluateMatches(matches, args), args)


def test_a_perfect_and_a_missed_car():
    first, second = box(10, 10, 20, 20), box(60, 60, 20, 20)

    assert ap_of([(first, 0.9), (second, 0.8)], road(first, second)) == pytest.approx((100, 100))
    assert ap_of([(first, 0.9)], road(first, second)) == pytest.approx((50, 50))
    assert ap_of([], road(first)) == (0, 0)


def test_a_second_detection_of_a_car_is_false():
    car, twin = box(10, 10, 20, 20), box(10, 10, 20, 19)

    # Points (recall, precision): (0, 1), (1, 1), (1, 1 / 2).
    assert ap_of([(car, 0.9), (twin, 0.8)], road(car))[1] == pytest.approx(100)
    # Of one score they make one point: (0, 1), (1, 1 / 2).
    assert ap_of([(car, 0.9), (twin, 0.9)], road(car))[1] == pytest.approx(75)
    # The more confident one is the match, whichever overlaps more.
    assert ap_of([(twin, 0.9), (car, 0.8)], road(car))[1] == pytest.approx(100)


def test_false_before_true_halves_precision():
    car, elsewhere = box(10, 10, 20, 20), box(60, 60, 20, 20)

    # Points (recall, precision): (0, 1), (0, 0), (1, 1 / 2); no envelope, so half of 1 / 2.
    assert ap_of([(elsewhere, 0.9), (car, 0.8)], road(car))[1] == pytest.approx(25)


@pytest.mark.parametrize("ignored", ["void", "crowd", "small"])
def test_what_lies_on_nothing_that_counts_is_ignored(ignored):
    car, elsewhere = box(10, 10, 20, 20), box(60, 60, 9, 11)
    ids = road(car)
    ids[elsewhere] = {"void": 4, "crowd": CAR, "small": CAR * 1000 + 9}[ignored]

    assert ap_of([(elsewhere, 0.9), (car, 0.8)], ids)[1] == pytest.approx(100)


@pytest.mark.parametrize(("height", "expected"), [(6, 100), (10, 25)])
def test_pixels_of_a_small_crowd_count_twice(height, expected):
    car, around = box(10, 10, 20, 20), box(60, 60, 20, 10)
    ids = road(car)
    ids[box(60, 60, height, 10)] = CAR

    assert ap_of([(around, 0.9), (car, 0.8)], ids)[1] == pytest.approx(expected)


def test_half_on_void_is_false_and_more_is_ignored():
    car = box(10, 10, 20, 20)
    ids = road(car)
    ids[60:80, 60:70] = 0

    assert ap_of([(box(60, 60, 20, 20), 0.9), (car, 0.8)], ids)[1] == pytest.approx(25)
    assert ap_of([(box(60, 59, 20, 19), 0.9), (car, 0.8)], ids)[1] == pytest.approx(100)


def test_a_caravan_is_no_void_but_a_group_of_caravans_is():
    car, elsewhere = box(10, 10, 20, 20), box(60, 60, 20, 20)
    ids = road(car)

    ids[elsewhere] = 29_001
    assert ap_of([(elsewhere, 0.9), (car, 0.8)], ids)[1] == pytest.approx(25)
    ids[elsewhere] = 29
    assert ap_of([(elsewhere, 0.9), (car, 0.8)], ids)[1] == pytest.approx(100)


def test_an_instance_needs_a_hundred_pixels():
    assert math.isnan(ap_of([], road(box(10, 10, 9, 11)))[0])
    assert ap_of([], road(box(10, 10, 10, 10)))[0] == 0


def test_an_overlap_must_exceed_the_threshold():
    car = box(10, 10, 10, 20)

    assert ap_of([(box(10, 10, 10, 10), 0.9)], road(car))[1] == 0
    assert ap_of([(box(10, 10, 10, 11), 0.9)], road(car))[1] == pytest.approx(100)


def test_void_may_come_from_the_panoptic_truth():
    street = draw_street(5)
    panoptic = PanopticTruth((np.array(street.truth.semantic) != IGNORED).astype(np.int32), ())
    other = Truth(SIZE, None, panoptic, street.truth.instances)

    measure = evaluator().measure

    assert measure(street.prediction, other) == measure(street.prediction, street.truth)


def test_needs_to_know_what_is_void():
    street = draw_street(5)

    with pytest.raises(DataError, match=r"which pixels are void.*choose evaluator=average_precision"):
        evaluator().measure(street.prediction, Truth(SIZE, instances=()))


def test_refuses_another_size():
    with pytest.raises(DataError, match="120 x 200"):
        evaluator().measure(draw_street(5).prediction, Truth((120, 201), instances=()))


def test_several_crowds_of_a_class_are_one():
    ids = road(box(10, 10, 20, 20))
    ids[60:80, 60:80] = CAR
    whole = truth_of(ids)
    halves = [box(60, 60, 20, 10), box(60, 70, 20, 10)]
    crowds = tuple(TrueInstance(run_lengths(half), LABELS[CAR], 200.0, is_crowd=True) for half in halves)
    others = tuple(instance for instance in whole.instances if not instance.is_crowd)
    prediction = prediction_of(box(60, 60, 20, 20)[None], [LABELS[CAR]], [0.5], VOCABULARY)

    measure = evaluator().measure

    parted = measure(prediction, Truth(SIZE, whole.semantic, instances=(*others, *crowds)))
    assert parted == measure(prediction, whole)
    assert parted["ignored"] == [2**10 - 1]


def test_a_weight_counts_a_picture_so_many_times():
    streets = streets_of(3)
    records = records_of(streets)
    weights = np.random.default_rng(3).multinomial(COUNT, np.full(COUNT, 1 / COUNT), size=3).T.astype(float)

    values = evaluator().tally(records).values(weights)

    for column in range(3):
        drawn = [
            street
            for street, times in zip(streets, weights[:, column], strict=True)
            for _ in range(int(times))
        ]
        alone = scores_of(drawn)
        for name, value in alone.values.items():
            assert values[name][column] == pytest.approx(value, abs=1e-10, nan_ok=True)


def test_any_order_gives_the_same_digits():
    records = records_of(streets_of(4))
    results = []
    for order in (range(COUNT), np.random.default_rng(1).permutation(COUNT)):
        metric = evaluator(resamples=20)
        for index in order:
            metric.update(json.loads(json.dumps(records[index])))
        results.append(metric.compute())

    assert results[0].values == results[1].values
    assert results[0].intervals == results[1].intervals
    low, high = results[0].intervals["AP"]
    assert low < results[0].values["AP"] < high


def test_seen_and_unseen_are_told_apart():
    scores = scores_of(streets_of(1))

    person, rider, car, truck = scores.per_class["AP"][11:15]
    assert scores.values["AP/seen"] == pytest.approx((person + rider) / 2)
    assert scores.values["AP/unseen"] == pytest.approx((car + truck) / 2)
