"""mIoU and its relatives: by hand, and against a slow loop over pixels."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.drawn_segments import NEVER, SUBJECT, UNSEEN, draw, semantic_pair

from ovseg.errors import DataError
from ovseg.evaluation.mean_iou import MeanIoU

CLASSES = 6


def scores(pictures, subject=SUBJECT):
    metric = MeanIoU(subject=subject, resamples=0)
    for drawn in pictures:
        metric.update(metric.measure(drawn.prediction, drawn.truth))
    return metric.compute()


def confusion_by_loops(pictures):
    """Rows are true classes, columns predicted ones, the last for no class."""
    confusion = np.zeros((CLASSES, CLASSES + 1), dtype=int)
    for drawn in pictures:
        labels = drawn.prediction.semantic.numpy()
        for place, true in np.ndenumerate(drawn.truth.semantic):
            if true != -1:
                confusion[true, labels[place]] += 1
    return confusion


def test_against_loops():
    pictures = [draw(seed) for seed in range(6)]
    confusion = confusion_by_loops(pictures)
    assert confusion[:, -1].any()
    assert not confusion[NEVER].any()
    found = scores(pictures)
    members = {"": range(CLASSES), "/seen": (0, 2, 3), "/unseen": (1, 4, NEVER)}
    for suffix, labels in members.items():
        iou, accuracy, pixels = [], [], []
        for label in labels:
            correct, true = confusion[label, label], confusion[label].sum()
            if true:
                iou.append(correct / (true + confusion[:, label].sum() - correct))
                accuracy.append(correct / true)
                pixels.append(true)
        right = sum(confusion[label, label] for label in labels)
        expected = {
            "mIoU": np.mean(iou),
            "fwIoU": np.average(iou, weights=pixels),
            "mACC": np.mean(accuracy),
            "pACC": right / sum(pixels),
        }
        for name, value in expected.items():
            assert found.values[name + suffix] == pytest.approx(100 * value, rel=1e-12)
    assert next(iter(found.values)) == "mIoU"
    seen, unseen = found.values["mIoU/seen"], found.values["mIoU/unseen"]
    assert found.values["mIoU/harmonic"] == pytest.approx(2 / (1 / seen + 1 / unseen))


def test_the_conventions_differ_in_a_class_that_is_only_predicted():
    values = scores([semantic_pair([[0, 0, 0, 1]], [[0, 0, NEVER, 1]])])
    assert values.values["mIoU"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert values.values["mIoU/mmseg"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert values.per_class["IoU"][NEVER] == 0
    assert math.isnan(values.per_class["ACC"][NEVER])
    assert math.isnan(values.per_class["IoU"][2])


def test_pixels_without_truth_are_dropped():
    ignored = scores([semantic_pair([[0, -1, -1]], [[0, 1, -1]])])
    assert (ignored.values["mIoU"], ignored.values["mIoU/mmseg"], ignored.values["pACC"]) == (100, 100, 100)
    assert math.isnan(ignored.per_class["IoU"][1])


def test_no_class_is_wrong():
    nothing = scores([semantic_pair([[0, 0, 1, 1]], [[0, -1, 1, 1]])])
    assert nothing.values["pACC"] == 75
    assert nothing.per_class["IoU"][:2] == [50, 100]
    assert nothing.values["mIoU/mmseg"] == 75


def test_truth_that_is_void_everywhere():
    void = scores([semantic_pair([[-1, -1]], [[0, 1]])], UNSEEN)
    assert void.pictures == 1
    assert void.values.keys() == {"mIoU", "mIoU/mmseg", "fwIoU", "mACC", "pACC"}
    assert all(math.isnan(value) for value in void.values.values())


def test_the_record_is_of_the_classes_that_occur():
    drawn = semantic_pair([[0, 4, 4, -1]], [[0, 4, 1, 2]])
    record = MeanIoU(subject=SUBJECT, resamples=0).measure(drawn.prediction, drawn.truth)
    assert record == {"classes": [0, 1, 4], "correct": [1, 0, 1], "true": [1, 0, 2], "predicted": [1, 1, 1]}


def test_refusals():
    measure = MeanIoU(subject=SUBJECT, resamples=0).measure
    pair = semantic_pair([[0, 1]], [[0, 1]])
    with pytest.raises(DataError, match=r"The prediction has the label 6\. Labels count .* from 0 to 5"):
        measure(semantic_pair([[0, 1]], [[0, 6]]).prediction, pair.truth)
    with pytest.raises(DataError, match="The prediction has the label -2"):
        measure(semantic_pair([[0, 1]], [[0, -2]]).prediction, pair.truth)
    with pytest.raises(DataError, match="The truth has the label 255"):
        measure(pair.prediction, semantic_pair([[0, 255]], [[0, 1]]).truth)
    with pytest.raises(DataError, match="no semantic truth"):
        measure(pair.prediction, dataclasses.replace(pair.truth, semantic=None))
    with pytest.raises(DataError, match=r"no semantic view\. Add 'semantic' to tasks"):
        measure(dataclasses.replace(pair.prediction, semantic=None), pair.truth)
    with pytest.raises(DataError, match="1 x 2 pixels"):
        measure(pair.prediction, semantic_pair([[0], [1]], [[0], [1]]).truth)
