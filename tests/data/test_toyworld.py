"""toyworld as a data set: the same picture always, exact truth, and no unseen class where one trains."""

import pickle

import numpy as np
import pytest
from pycocotools import mask as rle

from ovseg.build import build_component
from ovseg.config import compose_config
from ovseg.data.configured import build_dataset
from ovseg.data.toyworld.dataset import PICTURES, Toyworld
from ovseg.data.toyworld.scene import draw_scene
from ovseg.data.toyworld.words import (
    HIDDEN_THINGS,
    SEEN_THINGS,
    UNSEEN_STUFF,
    UNSEEN_THINGS,
    toyworld_vocabulary,
)
from ovseg.data.training.loader import training_loader
from ovseg.errors import ConfigError
from ovseg.interfaces import Dataset
from ovseg.run.plan import said_classes
from ovseg.schema import DatasetVocabularyConfig
from ovseg.vocabulary import load_vocabulary

UNSEEN = {*UNSEEN_THINGS, *UNSEEN_STUFF}


def small(split, count=6, size=96):
    return Toyworld(split=split, size=size, pictures={split: count})


def named(vocabulary):
    return [(entry.names, entry.is_thing) for entry in vocabulary.classes]


def test_the_config_says_what_the_class_says_by_itself():
    node = {**compose_config(None, ["+dataset=toyworld"])["dataset"]}
    assert node["pictures"] == dict(PICTURES)
    configured, default = build_dataset("toyworld"), Toyworld()
    assert (configured.split, configured.size) == (default.split, default.size)
    assert configured.keys == default.keys == [f"val_{index:05}" for index in range(200)]
    assert isinstance(configured, Dataset)


@pytest.mark.parametrize("split", PICTURES)
def test_truth_is_that_of_the_scene(split):
    dataset = small(split)
    for index in range(2):
        scene = draw_scene(split, index, 96)
        truth = dataset.truth(index)
        assert np.array_equal(dataset.image(index), scene.image)
        assert truth.image_size == truth.semantic.shape == (96, 96)
        assert np.array_equal(truth.panoptic.ids, scene.ids)
        assert len(truth.panoptic.segments) == len(scene.segments)
        things = 0
        for segment, true in zip(scene.segments, truth.panoptic.segments, strict=True):
            entry = dataset.vocabulary.classes[true.label]
            assert (entry.name, entry.is_thing) == (segment.name, segment.is_thing)
            assert set(truth.semantic[scene.ids == segment.id].tolist()) == {true.label}
            if segment.is_thing:
                instance = truth.instances[things]
                assert np.array_equal(rle.decode(instance.mask) == 1, scene.ids == segment.id)
                assert (instance.label, instance.area) == (true.label, (scene.ids == segment.id).sum())
                things += 1
        assert things == len(truth.instances) > 0


def test_pictures_may_be_written_to():
    dataset = small("val")
    dataset.image(0)[:] = 0
    dataset.truth(0).panoptic.ids[:] = 0
    assert dataset.image(0).any()
    assert dataset.truth(0).panoptic.ids.all()


def test_the_lists_are_the_words():
    everything = toyworld_vocabulary()
    assert named(load_vocabulary("toyworld")) == named(everything)
    seen = [entry for entry in everything.classes if entry.name not in UNSEEN]
    assert named(load_vocabulary("toyworld_seen")) == [(entry.names, entry.is_thing) for entry in seen]
    assert [entry.name for entry in seen if entry.is_thing] == list(SEEN_THINGS)
    of_all = {entry.name: (entry.id, entry.color) for entry in load_vocabulary("toyworld").classes}
    for entry in load_vocabulary("toyworld_seen").classes:
        assert (entry.id, entry.color) == of_all[entry.name]
    assert len(set(of_all.values())) == len({color for _, color in of_all.values()}) == len(everything)


def test_each_split_has_its_classes():
    assert small("val").vocabulary == small("captions").vocabulary == load_vocabulary("toyworld")
    assert small("train").vocabulary == load_vocabulary("toyworld_seen")
    surprise = small("surprise").vocabulary
    assert surprise.classes[:-6] == load_vocabulary("toyworld").classes
    assert [entry.name for entry in surprise.classes[-6:]] == list(HIDDEN_THINGS)
    for split in PICTURES:  # a run takes the list of the split, whatever the config has by default
        own = small(split).vocabulary
        assert said_classes(own, DatasetVocabularyConfig())[0].classes == own.classes


def test_seen_names_hold_no_unseen_class():
    names = set(small("val").training_names)
    by_name = {entry.name: entry for entry in toyworld_vocabulary().classes}
    assert all(names.isdisjoint(by_name[name].names) for name in UNSEEN)
    assert all(names.issuperset(entry.names) for name, entry in by_name.items() if name not in UNSEEN)


def test_it_is_trained_on_by_place_of_the_stream():
    one, other = (
        iter(training_loader(small("train", size=64), batch_size=3, crop=(48, 48), scales=(0.5, 1.5), seed=1))
        for _ in range(2)
    )
    for _ in range(3):
        batch, again = next(one), next(other)
        assert batch.images.shape[0] == len(batch.targets) == 3
        assert all(len(target.labels) > 0 for target in batch.targets)
        assert np.array_equal(batch.images, again.images)
    loader = training_loader(small("train"), batch_size=6, crop=(32, 32), scales=(1.0, 1.0))
    assert sorted(loader.keys(0)) == sorted(loader.keys(1)) == [f"train_{index:05}" for index in range(6)]


def test_it_is_whole_and_can_be_sent_to_other_processes():
    dataset = small("val")
    assert list(dataset.check()) == []
    sent = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(sent.image(3), dataset.image(3))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"split": "vall"},
            "there is no split 'vall'. Did you mean 'val'? Splits: captions, train, val, surp",
        ),
        ({"pictures": {"tran": 3}}, "there is no split 'tran'. Did you mean 'train'?"),
        ({"size": 31}, "size=31 must be at least 32 pixels"),
        ({"pictures": {"val": 0}}, "pictures.val=0 must be at least 1"),
    ],
)
def test_what_makes_no_sense(arguments, says):
    with pytest.raises(ConfigError) as error:
        build_component("datasets", {"name": "toyworld", **arguments}, path="dataset")
    assert says in str(error.value)
