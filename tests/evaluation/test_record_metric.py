"""What evaluators owe to runs: the same numbers whatever the order, the split and the storage of records."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import evaluating_process
from helpers.drawn_segments import SUBJECT, draw

from ovseg.build import build_component, check_component
from ovseg.config import conf_dir
from ovseg.errors import ConfigError
from ovseg.evaluation.mean_iou import MeanIoU
from ovseg.evaluation.panoptic_quality import PanopticQuality
from ovseg.interfaces import Evaluator

TESTS = Path(__file__).parents[1]
METRICS = [PanopticQuality, MeanIoU]
each_metric = pytest.mark.parametrize("make", METRICS, ids=lambda make: make.__name__)


def new(make, resamples=20):
    return make(subject=SUBJECT, resamples=resamples)


def records_of(make, count=9):
    measure = new(make).measure
    pictures = [draw(seed) for seed in range(count)]
    return [measure(drawn.prediction, drawn.truth) for drawn in pictures]


def text_of(metric):
    """Every digit of the result."""
    scores = metric.compute()
    return repr((scores.values, scores.per_class, scores.intervals, scores.pictures))


def text_after(make, records):
    metric = new(make)
    for record in records:
        metric.update(record)
    return text_of(metric)


@each_metric
def test_order_does_not_matter(make):
    records = records_of(make)
    expected = text_after(make, records)
    for seed in range(5):
        shuffled = [records[index] for index in np.random.default_rng(seed).permutation(len(records))]
        assert text_after(make, shuffled) == expected


@each_metric
def test_records_from_a_file_give_the_same_numbers(make):
    records = records_of(make)
    stored = [json.loads(line) for line in [json.dumps(record) for record in records]]
    assert stored == records
    assert text_after(make, stored) == text_after(make, records)


@each_metric
def test_a_merged_state_is_the_state_of_all(make):
    records = records_of(make)
    first, second = new(make), new(make)
    for record in records[:4]:
        first.update(record)
    for record in records[4:]:
        second.update(record)
    second.merge_state(first)
    assert text_of(second) == text_after(make, records)


@each_metric
def test_a_copy_goes_on_where_the_metric_was(make):
    records = records_of(make)
    metric = new(make)
    for record in records[:4]:
        metric.update(record)
    copy = pickle.loads(pickle.dumps(metric))
    for record in records[4:]:
        copy.update(record)
    assert text_of(copy) == text_after(make, records)
    copy.reset()
    assert copy.compute().pictures == 0


@each_metric
def test_measuring_is_pure_and_small_to_send(make):
    metric = new(make)
    sent = pickle.dumps(metric.measure)
    assert len(sent) < 200
    drawn = draw(3)
    before = pickle.dumps(drawn)
    assert pickle.loads(sent)(drawn.prediction, drawn.truth) == metric.measure(drawn.prediction, drawn.truth)
    assert pickle.dumps(drawn) == before


def test_measuring_needs_no_torchmetrics():
    modules = "ovseg.evaluation.segment_matching, ovseg.evaluation.pixel_counts, ovseg.registry"
    code = f"import {modules}, sys; sys.exit('torchmetrics' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@each_metric
def test_a_record_twice_counts_twice(make):
    record = records_of(make, 1)[0]
    metric = new(make)
    metric.update(record)
    once = metric.compute()
    metric.update(record)
    twice = metric.compute()
    assert (once.pictures, twice.pictures) == (1, 2)
    assert once.values == pytest.approx(twice.values, nan_ok=True)


@each_metric
def test_no_intervals_without_resamples(make):
    metric = new(make, resamples=0)
    for record in records_of(make, 3):
        metric.update(record)
    assert metric.compute().intervals == {}


@each_metric
def test_intervals_of_every_value(make):
    metric = new(make)
    for record in records_of(make):
        metric.update(record)
    scores = metric.compute()
    assert scores.intervals.keys() == scores.values.keys()
    assert all(low <= high for low, high in scores.intervals.values())


def test_a_record_must_be_plain():
    with pytest.raises(TypeError, match="int64 is not JSON"):
        new(MeanIoU).update({"classes": [np.int64(1)]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        new(MeanIoU).update({"classes": [float("nan")]})


@pytest.mark.parametrize(("name", "make"), [("panoptic_quality", PanopticQuality), ("mean_iou", MeanIoU)])
def test_the_registered_evaluators(name, make):
    node = yaml.safe_load((conf_dir() / "evaluator" / f"{name}.yaml").read_text())
    assert list(node) == [name]
    built = build_component("evaluators", node[name], (SUBJECT,))
    assert type(built) is make
    assert isinstance(built, Evaluator)
    assert check_component("evaluators", {**node[name], "subject": 1}, path=name) == [
        f"{name}.subject is not written in a config: it is the data set's classes, and which of them were "
        "seen in training."
    ]
    with pytest.raises(ConfigError, match="resamples=-1: must be 0"):
        build_component("evaluators", {**node[name], "resamples": -1}, (SUBJECT,))
    with pytest.raises(ConfigError, match="nothing here provides the data set's classes"):
        build_component("evaluators", node[name])


def test_two_processes_and_one_without_pictures(tmp_path):
    command = [sys.executable, "-m", "helpers.evaluating_process", str(tmp_path / "meeting")]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as second:
        first = evaluating_process.evaluate(0, tmp_path / "meeting")
        of_second, _ = second.communicate(timeout=100)
    assert second.returncode == 0
    alone = [evaluating_process.text_of(make, range(evaluating_process.PICTURES)) for make in METRICS]
    assert first == "\n".join(alone * len(evaluating_process.SHARES_OF_THE_FIRST))
    assert of_second == f"{first}\n"
