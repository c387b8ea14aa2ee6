"""Batches: the same in any process, from any worker, after any pause."""

import logging
import time
from itertools import islice

import pytest
import torch
from helpers.training_data import COCO_MINI, GivenDataset, put_coco, small_coco

from ovseg.data.coco import COCOPanoptic
from ovseg.data.training.loader import batch_of, training_loader
from ovseg.data.training.pictures import Collated
from ovseg.errors import ConfigError, DataError
from ovseg.types import TrainingBatch

CROP = (32, 32)


def tensors(batch: TrainingBatch):
    return [batch.images, *(part for one in batch.targets for part in (one.labels, one.masks))]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return small_coco(tmp_path_factory.mktemp("coco"))


@pytest.fixture(scope="module")
def first_six(coco):
    return list(islice(training_loader(coco, batch_size=2, crop=CROP), 6))


def test_a_batch_has_a_mask_for_every_target():
    segments = torch.tensor([[[0, 0, 2], [-1, 2, -1]], [[-1, -1, -1], [0, 0, 0]]], dtype=torch.int16)
    labels = (torch.tensor([4, 5, 4]), torch.tensor([9]))
    images = torch.zeros((2, 2, 3, 3), dtype=torch.uint8)
    batch = batch_of(Collated(images, segments, labels, ()), torch.device("cpu"))
    first, second = batch.targets
    assert first.labels.tolist() == [4, 5, 4]
    assert first.masks.int().tolist() == [
        [[1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0, 1], [0, 1, 0]],
    ]
    assert second.masks.int().tolist() == [[[0, 0, 0], [1, 1, 1]]]


def test_batches(first_six):
    assert len(first_six) == 6
    for batch in first_six:
        assert batch.images.shape == (2, *CROP, 3)
        assert batch.images.dtype == torch.uint8
        assert all(one.masks.dtype == torch.bool and one.masks.shape == (3, *CROP) for one in batch.targets)
        assert all(not (one.masks.sum(0) > 1).any() for one in batch.targets)
    assert not equal(first_six[0], first_six[1])


@pytest.mark.parametrize(("workers", "start_method"), [(1, "fork"), (2, "fork"), (1, "spawn")])
def test_workers_change_nothing(coco, first_six, workers, start_method):
    loader = training_loader(coco, batch_size=2, crop=CROP, workers=workers, start_method=start_method)
    assert all(map(equal, islice(loader, 4), first_six[:4]))
    loader.set_position(1)  # the same workers, which had read ahead
    assert all(map(equal, islice(loader, 5), first_six[1:]))
    assert loader.position == 6


def test_going_on_after_a_kill(coco, first_six):
    loader = training_loader(coco, batch_size=2, crop=CROP, workers=2)
    list(islice(loader, 3))
    state = loader.state_dict()
    assert state["iteration"] == 3
    resumed = training_loader(coco, batch_size=2, crop=CROP)
    resumed.load_state_dict(state)
    assert all(map(equal, islice(resumed, 3), first_six[3:]))


def test_two_processes_see_what_one_sees(coco):
    alone = islice(training_loader(coco, batch_size=4, crop=CROP), 5)
    ranks = [training_loader(coco, batch_size=2, crop=CROP, rank=rank, world_size=2) for rank in (0, 1)]
    for whole, *parts in zip(alone, *ranks, strict=False):
        images = torch.cat([part.images for part in parts])
        assert equal(whole, TrainingBatch(images, tuple(one for part in parts for one in part.targets)))
    shared, own = (training_loader(coco, batch_size=b, crop=CROP, world_size=w) for b, w in ((4, 1), (2, 2)))
    own.load_state_dict(shared.state_dict())  # other processes, the same pictures per iteration


def test_nobody_else_s_numbers_by_chance_are_used(coco):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    list(islice(training_loader(coco, batch_size=2, crop=CROP, workers=1), 2))
    list(islice(training_loader(coco, batch_size=2, crop=CROP), 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_names_of_a_batch(coco):
    loader = training_loader(coco, batch_size=7, crop=CROP)
    assert sorted(loader.keys(0)) == sorted(loader.keys(5)) == sorted(coco.keys)
    assert loader.keys(0) != loader.keys(5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_told_once(tmp_path, caplog, workers):
    put_coco(tmp_path, pictures=4)
    (tmp_path / "val2017" / "000000000002.jpg").unlink()
    loader = training_loader(COCOPanoptic(root=tmp_path), batch_size=4, crop=CROP, workers=workers)
    with caplog.at_level(logging.WARNING, "ovseg"):
        batches = list(islice(loader, 3))
    assert [len(batch.targets) for batch in batches] == [4, 4, 4]
    (message,) = caplog.messages
    assert "000000000002.jpg does not exist" in message
    assert message.endswith("Training goes on with another picture in its place.")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_says_only_what_is_wrong(tmp_path, workers):
    put_coco(tmp_path, pictures=2)
    dataset = COCOPanoptic(root=tmp_path)
    for path in (tmp_path / "val2017").iterdir():
        path.unlink()
    loader = training_loader(dataset, batch_size=2, crop=CROP, workers=workers)
    says_only = r"^10 pictures, drawn by chance from 2, cannot be trained on\.(?!.*Traceback)"
    with pytest.raises(DataError, match=says_only):
        next(iter(loader))
    assert loader.position == 0


def test_another_run_s_state(coco, tmp_path):
    state = training_loader(coco, batch_size=2, crop=CROP).state_dict()
    with pytest.raises(
        ConfigError,
        match="not the pictures that the run began with: seed was 0, now 5; pictures_per_iteration was 2, "
        r"now 6. Go on with the same data set, seed and pictures per iteration .batch size times processes",
    ):
        training_loader(coco, batch_size=3, crop=CROP, seed=5, world_size=2).load_state_dict(state)
    fewer = small_coco(tmp_path, pictures=6)
    with pytest.raises(ConfigError, match="pictures was 7, now 6"):
        training_loader(fewer, batch_size=2, crop=CROP).load_state_dict(state)
    others = small_coco(tmp_path / "others", pictures=8, crowds=(0,))  # seven again, one of another name
    with pytest.raises(ConfigError, match="their names or classes are others"):
        training_loader(others, batch_size=2, crop=CROP).load_state_dict(state)


def test_no_picture_at_all():
    with pytest.raises(DataError, match="no picture to train on"):
        training_loader(GivenDataset([]), batch_size=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_device(coco, first_six, workers):
    device = torch.device("cuda")
    loader = training_loader(coco, batch_size=2, crop=CROP, workers=workers, device=device)
    for batch, wanted in zip(islice(loader, 6), first_six, strict=True):
        assert {tensor.device.type for tensor in tensors(batch)} == {"cuda"}
        assert equal(batch.to(torch.device("cpu")), wanted)


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="coco_mini is not there")
def test_ten_pictures_a_second_on_one_core():
    loader = iter(training_loader(COCOPanoptic(root=COCO_MINI), batch_size=2))
    next(loader)
    start = time.thread_time()
    seen = sum(len(batch.targets) for batch in islice(loader, 10))
    assert (time.thread_time() - start) / seen < 0.1
