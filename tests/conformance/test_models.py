"""Every file of conf/model at a small size: pictures in, well-formed and repeatable predictions out.

Files that differ in sizes and weights alone are one model here.
"""

import numpy as np
import pytest
import torch
from golden.scene import scene
from helpers.tiny_models import different_models, shipped_model, small, written

from ovseg.config import config_groups
from ovseg.interfaces import Method
from ovseg.run.load import load_method
from ovseg.types import NOTHING, TASKS, Prediction
from ovseg.vocabulary import ClassEntry, Vocabulary

PICTURE = scene(40, 60, 1)
VOCABULARY = Vocabulary(
    "conformance",
    (
        ClassEntry(("cat", "kitten")),
        ClassEntry(("sky",), is_thing=False),
        ClassEntry(("dog", "puppy", "hound")),
        ClassEntry(("grass",), is_thing=False),
    ),
    templates=("a photo of a {}.", "{}"),
)


@pytest.fixture(scope="module", params=different_models(config_groups()["model"]))
def method(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    node = written(small(shipped_model(request.param), "methods"), folder)
    with pytest.warns(UserWarning, match="has random weights"):
        return load_method(node, weights="random", device="cpu", text_cache=folder)


def check(prediction: Prediction, size: tuple[int, int], vocabulary: Vocabulary) -> None:
    """Sizes, number formats and labels of all three views."""
    classes = len(vocabulary)
    assert prediction.vocabulary == vocabulary
    assert prediction.image_size == size
    for labels in (prediction.semantic, prediction.panoptic.ids):
        assert labels.shape == size
        assert not labels.is_floating_point()
        assert labels.device.type == "cpu"
    assert NOTHING <= int(prediction.semantic.min()) <= int(prediction.semantic.max()) < classes
    segments = prediction.panoptic.segments
    ids = prediction.panoptic.ids
    assert set(ids.unique().tolist()) - {0} == {segment.id for segment in segments}
    stuff = [segment.label for segment in segments if not segment.is_thing]
    assert len(stuff) == len(set(stuff))
    for segment in segments:
        assert segment.is_thing == vocabulary.classes[segment.label].is_thing
        assert segment.area == int((ids == segment.id).sum())
        assert segment.score is None or 0 <= segment.score <= 1
    instances = prediction.instances
    count = len(instances.scores)
    assert instances.masks.shape == (count, *size)
    assert instances.masks.dtype == torch.bool
    assert instances.labels.shape == (count,)
    assert all(0 <= label < classes for label in instances.labels.tolist())
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
    assert all(seconds >= 0 for seconds in prediction.seconds.values())


def same(one: Prediction, other: Prediction, tolerance: float = 0.0) -> bool:
    """Equal views, but for a share of the pixels and instances that appear in one alone."""
    few = tolerance * one.semantic.numel()
    count = max(1, len(one.instances.scores))
    return (
        int((one.semantic != other.semantic).sum()) <= few
        and int((one.panoptic.ids != other.panoptic.ids).sum()) <= few
        and [s.label for s in one.panoptic.segments] == [s.label for s in other.panoptic.segments]
        and torch.equal(one.instances.labels, other.instances.labels)
        and torch.allclose(one.instances.scores, other.instances.scores, atol=1e-4 if tolerance else 0.0)
        and int((one.instances.masks != other.instances.masks).sum()) <= few * count
    )


def test_it_predicts_the_same_twice(method):
    assert isinstance(method, Method)
    before = PICTURE.copy()
    first = method.predict_batch([PICTURE], VOCABULARY, tasks=TASKS)[0]
    check(first, (40, 60), VOCABULARY)
    assert np.array_equal(PICTURE, before)
    assert same(first, method.predict_batch([PICTURE], VOCABULARY, tasks=TASKS)[0])


def test_a_batch_gives_what_single_pictures_give(method):
    pictures = [PICTURE, scene(60, 40, 2), scene(40, 60, 3)]
    together = method.predict_batch(pictures, VOCABULARY, tasks=TASKS)
    for picture, one in zip(pictures, together, strict=True):
        alone = method.predict_batch([picture], VOCABULARY, tasks=TASKS)[0]
        check(one, picture.shape[:2], VOCABULARY)
        assert same(one, alone, tolerance=0.01)


@pytest.mark.parametrize("size", [(1, 1), (3, 30)])
def test_tiny_pictures(method, size):
    check(method.predict_batch([scene(*size, 4)], VOCABULARY, tasks=TASKS)[0], size, VOCABULARY)


@pytest.mark.parametrize("names", [("cat",), ("cat", "kitten")])
def test_a_vocabulary_of_one_class(method, names):
    one = Vocabulary("one", (ClassEntry(names),), templates=("{}",))
    check(method.predict_batch([PICTURE], one, tasks=TASKS)[0], (40, 60), one)


@pytest.mark.parametrize("task", TASKS)
def test_views_that_were_not_asked_for_are_not_made(method, task):
    found = method.predict_batch([PICTURE], VOCABULARY, tasks=(task,))[0]
    views = (found.semantic, found.panoptic, found.instances)
    assert [view is not None for view in views] == [task == other for other in TASKS]


def test_no_picture_gives_no_prediction(method):
    assert method.predict_batch([], VOCABULARY, tasks=TASKS) == []
