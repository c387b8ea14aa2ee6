"""Predictions on their way to the workers, and workers that die."""

import numpy as np
import pytest
import torch
from helpers.blocks import die, write_blocks

from ovseg.build import build_component
from ovseg.errors import OvsegError
from ovseg.run.measuring import Yardstick, default_workers, measuring, pack, unpack
from ovseg.types import Instances, Panoptic, Prediction, Segment
from ovseg.vocabulary import parse_classes

VOCABULARY = parse_classes(["cat", "dog", "stuff:grass", "stuff:sky"])


def prediction(lowest, highest, instances=3):
    random = np.random.default_rng(0)
    semantic = random.integers(lowest, highest + 1, (5, 7))
    semantic[0, :2] = lowest, highest
    return Prediction(
        VOCABULARY,
        (5, 7),
        torch.from_numpy(semantic),
        Panoptic(torch.from_numpy(semantic - lowest), (Segment(1, 0, True, 0.5, 1),)),
        Instances(
            torch.from_numpy(random.random((instances, 5, 7)) < 0.5),
            torch.arange(instances),
            torch.rand(instances),
        ),
    )


@pytest.mark.parametrize(
    ("lowest", "highest"), [(-1, 3), (-1, 127), (-1, 128), (0, 255), (-1, 40000), (0, 90000)]
)
@pytest.mark.parametrize("instances", [0, 3])
def test_packing_loses_nothing(lowest, highest, instances):
    given = prediction(lowest, highest, instances)
    back = unpack(pack(given), VOCABULARY)
    assert torch.equal(back.semantic, given.semantic)
    assert torch.equal(back.panoptic.ids, given.panoptic.ids)
    assert back.panoptic.segments == given.panoptic.segments
    for name in ("masks", "labels", "scores"):
        first, second = getattr(back.instances, name), getattr(given.instances, name)
        assert first.dtype == second.dtype
        assert torch.equal(first, second)


def test_views_that_are_not_there():
    back = unpack(pack(Prediction(VOCABULARY, (5, 7))), VOCABULARY)
    assert (back.semantic, back.panoptic, back.instances) == (None, None, None)


def test_a_worker_that_dies_ends_the_run_with_advice(tmp_path):
    root = write_blocks(tmp_path, 1)
    node = {"name": "folder", "root": str(root), "labels": None, "panoptic": "panoptic.json", "classes": None}
    dataset = build_component("datasets", node)
    with (
        pytest.raises(OvsegError, match=r"has died, most likely for lack of memory.*runtime\.workers=1"),
        measuring(Yardstick(dataset, VOCABULARY, {"x": die}), 1) as submit,
    ):
        submit(0, prediction(0, 3)).result()


def test_a_machine_is_shared():
    assert 1 <= default_workers(1) <= 4
    assert default_workers(1000) == 1
