"""A place in the stream becomes a picture, whatever is broken."""

import pickle

import numpy as np
import pytest
import torch
from helpers.dataset_files import put_picture
from helpers.training_data import GivenDataset, put_coco, small_coco

from ovseg.data.coco import COCOPanoptic
from ovseg.data.training.pictures import TrainingPictures, collate
from ovseg.data.training.transforms import LargeScaleJitter
from ovseg.errors import ConfigError, DataError
from ovseg.truth import PanopticTruth, TrueSegment, Truth


def pictures_of(dataset, seed=0, **jitter):
    return TrainingPictures(dataset, transform=LargeScaleJitter(crop=(32, 32), **jitter), seed=seed)


def equal(one, other):
    tensors = zip(one[:3], other[:3], strict=True)
    return all(torch.equal(a, b) for a, b in tensors) and one.faults == other.faults


def whole_truth(label=0, crowd=False):
    ids = np.ones((5, 6), np.int32)
    return Truth((5, 6), panoptic=PanopticTruth(ids, (TrueSegment(1, label, crowd),)))


def test_a_sample(tmp_path):
    pictures = pictures_of(small_coco(tmp_path), scales=(1.0, 1.0), flip=0.0)
    place = next(place for place in range(7) if pictures.index_at(place) == 3)
    sample = pictures[place]  # 29 x 34 pixels, so 27 x 32 of the crop
    assert sample.image.shape == (32, 32, 3)
    assert sample.image.dtype == torch.uint8
    assert (sample.image[27:] == 128).all()
    assert sample.labels.tolist() == [119, 0, 2]
    assert sample.segments[20, 5] == 1
    assert sample.segments[5, 5] == 0
    assert (sample.segments[27:] == -1).all()
    assert sample.faults == ()


def test_a_sample_depends_on_seed_and_place_alone(tmp_path):
    pictures = pictures_of(small_coco(tmp_path))
    samples = [pictures[place] for place in range(14)]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = pickle.loads(pickle.dumps(pictures))
    assert all(equal(again[place], samples[place]) for place in (13, 0, 5))
    assert torch.equal(torch.get_rng_state(), before)
    other = pictures_of(pictures.dataset, seed=1)
    assert not any(equal(other[place], samples[place]) for place in range(14))
    # The second epoch has the same pictures in other views.
    of_first = [place for place in range(14) if pictures.index_at(place) == 0]
    assert len(of_first) == 2
    assert not torch.equal(samples[of_first[0]].image, samples[of_first[1]].image)


def test_masks_that_a_crop_emptied_stay(tmp_path):
    pictures = pictures_of(small_coco(tmp_path), scales=(2.0, 2.0))
    samples = [pictures[place] for place in range(14)]
    assert all(sample.labels.tolist() == [119, 0, 2] for sample in samples)
    assert any(not (sample.segments == 2).any() for sample in samples)


def test_an_unreadable_picture_is_replaced_the_same_way_each_time(tmp_path):
    put_coco(tmp_path)
    whole = [pictures_of(COCOPanoptic(root=tmp_path))[place] for place in range(7)]
    (tmp_path / "val2017" / "000000000002.jpg").write_bytes(b"nothing")
    pictures = pictures_of(COCOPanoptic(root=tmp_path))
    broken = [place for place in range(7) if pictures.index_at(place) == 2]
    samples = [pictures[place] for place in range(7)]
    assert [place for place in range(7) if samples[place].faults] == broken
    assert "000000000002.jpg is not a picture" in samples[broken[0]].faults[0]
    assert equal(pictures[broken[0]], samples[broken[0]])
    assert all(equal(samples[place], whole[place]) for place in range(7) if place not in broken)
    assert samples[broken[0]].labels.tolist() == [119, 0, 2]


def test_labels_of_another_size_are_a_fault(tmp_path):
    put_coco(tmp_path)
    put_picture(tmp_path / "val2017" / "000000000001.jpg", (50, 60))
    pictures = pictures_of(COCOPanoptic(root=tmp_path))
    (place,) = (place for place in range(7) if pictures.index_at(place) == 1)
    assert "000000000001 has 60 x 50 pixels, its labels have 38 x 23." in pictures[place].faults[0]


def test_nothing_can_be_read(tmp_path):
    put_coco(tmp_path)
    for path in (tmp_path / "val2017").iterdir():
        path.write_bytes(b"")
    error = pictures_of(COCOPanoptic(root=tmp_path))[0]
    assert isinstance(error, DataError)
    assert str(error).startswith(
        "10 pictures, drawn by chance from 7, cannot be trained on. The last that cannot be read: "
    )
    assert "is empty (0 bytes)" in str(error)
    assert "'ovseg check data'" in str(error)


def test_pictures_of_crowds_alone_are_replaced_silently():
    dataset = GivenDataset([whole_truth(crowd=True), whole_truth(1), whole_truth(crowd=True)])
    pictures = pictures_of(dataset)
    assert len(pictures) == 3  # nobody knows before they are opened
    samples = [pictures[place] for place in range(6)]
    assert all(sample.labels.tolist() == [1] and not sample.faults for sample in samples)
    error = pictures_of(GivenDataset([whole_truth(crowd=True)]))[0]
    assert "drawn by chance from 1, cannot be trained on. None has a segment but crowds." in str(error)


def test_a_class_outside_the_list_is_not_made_up_for():
    pictures = pictures_of(GivenDataset([whole_truth(), whole_truth(7), whole_truth()]))
    found = [pictures[place] for place in range(3)]
    (error,) = (one for one in found if isinstance(one, DataError))
    assert "given_1: segment 1 has the class index 7" in str(error)
    assert collate(found) is error


def test_a_seed_is_not_negative():
    with pytest.raises(ConfigError, match="seed=-1: give a whole number from 0"):
        pictures_of(GivenDataset([whole_truth()]), seed=-1)
