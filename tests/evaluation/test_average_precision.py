"""COCO's average precision, against the published code run in the ordinary way and against golden numbers."""

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.drawn_instances import SIZE, THINGS, VOCABULARY, draw, prediction_of, run_lengths
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ovseg.errors import ConfigError, DataError
from ovseg.evaluation.average_precision import AveragePrecision
from ovseg.evaluation.bootstrap import point_values
from ovseg.evaluation.coco_accumulate import NAMES, weighted
from ovseg.evaluation.coco_matching import overlaps
from ovseg.evaluation.detections import detections
from ovseg.evaluation.instance_matches import Matches
from ovseg.evaluation.subject import Subject
from ovseg.truth import TrueInstance, Truth
from ovseg.vocabulary import Vocabulary, load_vocabulary

GOLDEN = Path(__file__).parents[1] / "golden/metrics/instances.json"
SEEN = (True, True, False, True, False, False, True)
COUNT = 12


def evaluator(*, vocabulary=VOCABULARY, is_seen=SEEN, resamples=0):
    return AveragePrecision(subject=Subject(vocabulary, is_seen), resamples=resamples)


def records_of(pictures, metric=None):
    metric = metric or evaluator()
    return [
        {**metric.measure(drawn.prediction, drawn.truth), "picture": number}
        for number, drawn in enumerate(pictures)
    ]


def scores_of(records, **settings):
    metric = evaluator(**settings)
    for record in records:
        metric.update(record)
    return metric.compute()


def published(pictures, labels=THINGS):
    """`COCOeval` as people run it: two data sets in memory, evaluate, accumulate, summarize."""
    true, found = [], []
    for image, drawn in enumerate(pictures):
        for instance in drawn.truth.instances:
            annotation = {"id": len(true) + 1, "image_id": image, "category_id": instance.label}
            annotation |= {"segmentation": instance.mask, "area": instance.area}
            true.append(annotation | {"bbox": [0, 0, 1, 1], "iscrowd": int(instance.is_crowd)})
        instances = drawn.prediction.instances
        for mask, label, score in zip(instances.masks, instances.labels, instances.scores, strict=True):
            if int(label) in labels:
                result = {"image_id": image, "category_id": int(label), "score": float(score)}
                found.append(result | {"segmentation": run_lengths(mask.numpy())})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image, "height": SIZE[0], "width": SIZE[1]} for image in range(len(pictures))],
        "annotations": true,
        "categories": [{"id": label} for label in labels],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def all_numbers(values):
    return np.array([values[name] for name in NAMES])


def published_numbers(pictures):
    stats = published(pictures).stats
    return np.where(stats < 0, np.nan, 100 * stats)


def test_golden_numbers_of_the_published_code():
    golden = json.loads(GOLDEN.read_text())
    vocabulary = load_vocabulary("coco_panoptic")
    label_of = {entry.id: label for label, entry in enumerate(vocabulary.classes)}
    metric = evaluator(vocabulary=vocabulary, is_seen=(True,) * len(vocabulary))
    for image, size in zip(golden["images"], golden["sizes"], strict=True):
        true = tuple(
            TrueInstance(
                {"size": size, "counts": counts.encode()}, label_of[category], float(area), bool(crowd)
            )
            for of, category, area, crowd, counts in golden["true"]
            if of == image
        )
        found = [row[1:] for row in golden["predicted"] if row[0] == image]
        masks = [coco_mask.decode({"size": size, "counts": counts}) for _, _, counts in found]
        prediction = prediction_of(
            np.stack(masks) if masks else np.zeros((0, *size)),
            [label_of[category] for category, _, _ in found],
            [score for _, score, _ in found],
            vocabulary,
        )
        record = metric.measure(prediction, Truth(image_size=tuple(size), instances=true))
        metric.update({**record, "picture": image})

    scores = metric.compute()

    assert scores.pictures == 53
    assert {name: value / 100 for name, value in scores.values.items()} == pytest.approx(
        golden["expected"], abs=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_published_code_on_drawn_pictures(seed):
    pictures = [draw(100 * seed + number, true=number % 10, predicted=3 * number) for number in range(COUNT)]

    scores = scores_of(records_of(pictures))

    assert all_numbers(scores.values) == pytest.approx(published_numbers(pictures), abs=1e-10, nan_ok=True)
    precision = published(pictures).eval["precision"][:, :, :, 0, -1]
    for column, label in enumerate(THINGS):
        value = precision[:, :, column].mean()
        expected = 100 * value if value > -1 else math.nan
        assert scores.per_class["AP"][label] == pytest.approx(expected, abs=1e-10, nan_ok=True)
    assert math.isnan(scores.per_class["AP"][1])
    assert math.isnan(scores.per_class["AP"][6])


def test_at_most_a_hundred_of_a_class_count_and_ties_keep_their_order():
    pictures = [draw(7, predicted=700), draw(8, predicted=40)]
    assert (pictures[0].prediction.instances.labels == 0).sum() > 100

    scores = scores_of(records_of(pictures))

    assert all_numbers(scores.values) == pytest.approx(published_numbers(pictures), abs=1e-10, nan_ok=True)


def test_seen_and_unseen_are_means_over_their_classes():
    scores = scores_of(records_of([draw(number) for number in range(COUNT)]))

    per_class = scores.per_class["AP"]
    assert scores.values["AP/seen"] == pytest.approx(np.nanmean([per_class[label] for label in (0, 3)]))
    assert scores.values["AP/unseen"] == pytest.approx(np.nanmean([per_class[label] for label in (2, 4, 5)]))
    assert next(iter(scores.values)) == "AP"


@pytest.mark.parametrize(("true", "predicted"), [(0, 5), (0, 0)])
def test_nothing_true_leaves_every_number_undefined(true, predicted):
    scores = scores_of(records_of([draw(1, true=true, predicted=predicted)]))

    assert scores.pictures == 1
    assert all(math.isnan(value) for value in scores.values.values())


def test_nothing_predicted_is_worth_nothing():
    scores = scores_of(records_of([draw(1, true=9, predicted=0)]))

    assert scores.values["AP"] == 0
    assert scores.values["AR100"] == 0


def test_no_pictures_give_no_numbers():
    tally = evaluator().tally([])

    assert tally.pictures == 0
    assert math.isnan(point_values(tally)["AP"])


def test_the_truth_itself_is_worth_everything():
    drawn = draw(3)
    certain = [instance for instance in drawn.truth.instances if not instance.is_crowd]
    masks = np.stack([coco_mask.decode(instance.mask) for instance in certain])
    prediction = prediction_of(
        masks, [instance.label for instance in certain], np.linspace(1, 0.5, len(masks))
    )

    metric = evaluator()
    metric.update(metric.measure(prediction, drawn.truth))

    assert metric.compute().values["AP"] == pytest.approx(100)


def test_overlaps_are_those_of_pycocotools():
    drawn = draw(5, true=12, predicted=20)
    found = detections(drawn.prediction.instances, range(len(VOCABULARY)))
    true = drawn.truth.instances
    assert any(instance.is_crowd for instance in true)

    expected = coco_mask.iou(
        [run_lengths(mask) for mask in found.masks],
        [instance.mask for instance in true],
        [int(instance.is_crowd) for instance in true],
    )

    assert np.array_equal(overlaps(found, true), expected)


def test_a_record_survives_json():
    for record in records_of([draw(2), draw(2, true=0), draw(2, predicted=0), draw(2, true=0, predicted=0)]):
        again = json.loads(json.dumps(record))
        assert again == record
        restored = Matches.from_record(again).to_record()
        assert {**restored, "picture": record["picture"]} == record


def test_a_record_is_small():
    record = records_of([draw(2, true=20, predicted=100)])[0]

    assert len(json.dumps(record)) < 6000


def test_any_order_and_any_split_give_the_same_digits():
    records = records_of([draw(number) for number in range(COUNT)])
    whole = scores_of(records, resamples=20)

    shuffled = scores_of(
        [records[index] for index in np.random.default_rng(0).permutation(COUNT)], resamples=20
    )
    first, second = evaluator(resamples=20), evaluator(resamples=20)
    for number, record in enumerate(records):
        (second if number % 3 else first).update(record)
    first.lines = [*second.lines, *first.lines]

    for other in (shuffled, first.compute()):
        assert other.values == whole.values
        assert other.intervals == whole.intervals
        assert repr(other.per_class) == repr(whole.per_class)


def test_a_tie_goes_to_the_earlier_picture():
    pictures = [draw(number) for number in range(COUNT)]
    records = records_of(pictures)
    backwards = [{**record, "picture": COUNT - record["picture"]} for record in records]

    forward, backward = scores_of(records), scores_of(backwards)

    assert forward.values["AP"] != backward.values["AP"]
    expected = published_numbers(pictures[::-1])
    assert all_numbers(backward.values) == pytest.approx(expected, abs=1e-10)


def test_weighting_every_picture_once_gives_the_published_numbers():
    tally = evaluator().tally(records_of([draw(number) for number in range(COUNT)]))
    once = tally.values(np.ones((COUNT, 1)))

    twice_the_same = tally.values(np.ones((COUNT, 2)))

    for name, value in once.items():
        assert twice_the_same[name] == pytest.approx([value[0], value[0]], abs=1e-10, nan_ok=True)


def test_a_weight_counts_a_picture_so_many_times():
    pictures = [draw(number, ties=False) for number in range(COUNT)]
    records = records_of(pictures)
    weights = np.random.default_rng(3).multinomial(COUNT, np.full(COUNT, 1 / COUNT), size=3).T.astype(float)

    values = evaluator().tally(records).values(weights)

    for column in range(3):
        drawn = [
            picture for index, picture in enumerate(pictures) for _ in range(int(weights[index, column]))
        ]
        found = all_numbers(values)[:, column]
        assert found == pytest.approx(published_numbers(drawn), abs=1e-10, nan_ok=True)


def test_blocks_of_weightings_change_nothing(monkeypatch):
    tally = evaluator().tally(records_of([draw(number) for number in range(COUNT)]))
    weights = np.random.default_rng(3).integers(0, 3, (COUNT, 7)).astype(float)
    matches = tally._classes[0]
    whole = weighted(matches, weights)

    monkeypatch.setattr("ovseg.evaluation.coco_accumulate.BLOCK_VALUES", 3 * len(matches.scores))

    assert weighted(matches, weights) == pytest.approx(whole, abs=1e-12, nan_ok=True)


def test_intervals_hold_the_value():
    scores = scores_of(records_of([draw(number) for number in range(COUNT)]), resamples=100)

    assert set(scores.intervals) == set(scores.values)
    low, high = scores.intervals["AP"]
    assert low < scores.values["AP"] < high


def test_refuses_pairs_that_cannot_be_compared():
    drawn, measure = draw(1), evaluator().measure

    with pytest.raises(DataError, match=r"150 x 200 pixels .* the truth 150 x 201"):
        measure(drawn.prediction, Truth(image_size=(150, 201), instances=()))
    with pytest.raises(DataError, match="no instance truth"):
        measure(drawn.prediction, Truth(image_size=SIZE))
    with pytest.raises(DataError, match="Add 'instance' to tasks"):
        measure(type(drawn.prediction)(VOCABULARY, SIZE), drawn.truth)
    other = Vocabulary("two", VOCABULARY.classes[:2])
    with pytest.raises(DataError, match=r"2 classes \('two'\), the data set has 7"):
        measure(prediction_of(np.zeros((0, *SIZE)), [], [], other), drawn.truth)
    with pytest.raises(DataError, match=r"prediction has the label 9\. .* 7 classes, from 0 to 6"):
        measure(prediction_of(np.ones((1, *SIZE)), [9], [0.5]), drawn.truth)


def test_refuses_a_negative_count_of_resamples():
    with pytest.raises(ConfigError, match="resamples=-1"):
        evaluator(resamples=-1)
