"""Panoptic quality and mIoU on pictures of COCO, against panopticapi, detectron2 and mmseg."""

import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from ovseg.evaluation.mean_iou import MeanIoU
from ovseg.evaluation.panoptic_quality import PanopticQuality
from ovseg.evaluation.subject import Subject
from ovseg.truth import IGNORED, PanopticTruth, TrueSegment, Truth
from ovseg.types import Panoptic, Prediction, Segment
from ovseg.vocabulary import ClassEntry, Vocabulary

GOLDEN = Path(__file__).parents[1] / "golden/metrics"
DATA = Path(os.environ.get("OVSEG_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
ANNOTATIONS = DATA / "coco_mini/annotations"

pytestmark = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(), reason="the COCO pictures are not here (OVSEG_TEST_DATA)"
)


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "panoptic.json").read_text())


@pytest.fixture(scope="module")
def coco():
    return json.loads((ANNOTATIONS / "panoptic_val2017.json").read_text())


@pytest.fixture(scope="module")
def pairs(coco, expected):
    classes = tuple(
        ClassEntry((category["name"],), bool(category["isthing"]), category["id"])
        for category in coco["categories"]
    )
    index = {entry.id: number for number, entry in enumerate(classes)}
    predicted = np.load(GOLDEN / "panoptic_pred.npz")
    vocabulary = Vocabulary("coco", classes)
    return vocabulary, [
        (
            prediction_of(predicted[str(annotation["image_id"])], segments, index, vocabulary),
            truth_of(annotation, index),
        )
        for annotation in coco["annotations"]
        for segments in [expected["segments"][str(annotation["image_id"])]]
    ]


def truth_of(annotation, index):
    path = ANNOTATIONS / "panoptic_val2017" / annotation["file_name"]
    pixels = np.asarray(PIL.Image.open(path).convert("RGB")).astype(np.int32)
    ids = pixels @ np.array([1, 256, 256**2], dtype=np.int32)
    segments = tuple(
        TrueSegment(segment["id"], index[segment["category_id"]], bool(segment["iscrowd"]))
        for segment in annotation["segments_info"]
    )
    semantic = np.full(ids.shape, IGNORED, dtype=np.int16)
    for segment in segments:
        semantic[ids == segment.id] = segment.label
    return Truth(ids.shape, semantic, PanopticTruth(ids, segments))


def prediction_of(pixels, segments, index, vocabulary):
    ids = pixels.astype(np.int32)
    # The golden semantic prediction says class 0 where there is no segment.
    labels = np.zeros_like(ids)
    for id, category in segments:
        labels[ids == id] = index[category]
    listed = tuple(Segment(id, index[category], True, None, 1) for id, category in segments)
    return Prediction(
        vocabulary, ids.shape, torch.from_numpy(labels), Panoptic(torch.from_numpy(ids), listed)
    )


def scores(metric, pairs):
    for prediction, truth in pairs:
        metric.update(metric.measure(prediction, truth))
    return metric.compute()


def test_panoptic_quality(pairs, expected):
    vocabulary, pairs = pairs
    subject = Subject(vocabulary, (True,) * len(vocabulary))
    found = scores(PanopticQuality(subject=subject, resamples=0), pairs)
    golden = expected["PQ"]
    for suffix, part in {"": "All", "/things": "Things", "/stuff": "Stuff"}.items():
        for name in ("PQ", "SQ", "RQ"):
            assert found.values[name + suffix] / 100 == pytest.approx(
                golden[part][name.lower()], abs=1e-9, rel=0
            )
    for name in ("PQ", "SQ", "RQ"):
        ours = dict(zip([entry.id for entry in vocabulary.classes], found.per_class[name], strict=True))
        assert sum(not np.isnan(value) for value in ours.values()) == golden["All"]["n"]
        for id, quality in golden["per_class"].items():
            # panopticapi writes 0 where a class does not occur.
            assert np.nan_to_num(ours[int(id)]) / 100 == pytest.approx(quality[name.lower()], abs=1e-9, rel=0)
    assert found.pictures == 53


def test_mean_iou(pairs, expected):
    vocabulary, pairs = pairs
    subject = Subject(vocabulary, (False,) * len(vocabulary))
    found = scores(MeanIoU(subject=subject, resamples=0), pairs)
    golden = expected["semantic"]
    for name in ("mIoU", "fwIoU", "mACC", "pACC"):
        assert found.values[name] == pytest.approx(golden["detectron2"][name], abs=1e-9, rel=0)
    assert found.values["mIoU/mmseg"] == pytest.approx(golden["mmseg"]["mIoU"], abs=1e-9, rel=0)
    assert found.values["mIoU"] - found.values["mIoU/mmseg"] > 1
    assert len(golden["per_class_iou"]) == len(vocabulary)
    for entry, iou in zip(vocabulary.classes, found.per_class["IoU"], strict=True):
        golden_iou = golden["per_class_iou"][entry.name]
        if golden_iou is None:
            assert np.isnan(iou)
        else:
            assert iou / 100 == pytest.approx(golden_iou, abs=1e-9, rel=0)
