"""One step that computes the crop alone, against torchvision's own transforms one after the other."""

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.training_data import COCO_MINI
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from ovseg.data.coco import COCOPanoptic
from ovseg.data.training.transforms import GREY, VOID, LargeScaleJitter, crop_of_image, crop_of_segments
from ovseg.data.training.truths import segments_of
from ovseg.data.training.views import View, draw_view
from ovseg.errors import ConfigError


def one_after_the_other(image, segments, view):
    """Flip, resize of the whole, crop, pad: the picture with Pillow behind v2, the segments in torch."""
    pixels = PIL.Image.fromarray(image)
    ids = torch.from_numpy(segments)[None]
    if view.flip:
        pixels, ids = functional.horizontal_flip(pixels), functional.horizontal_flip(ids)
    size, shown = list(view.size), view.shown
    pixels = functional.resize(pixels, size, interpolation=InterpolationMode.BILINEAR)
    ids = functional.resize_image(ids, size, interpolation=InterpolationMode.NEAREST_EXACT)
    pixels, ids = (functional.crop(one, *view.offset, *shown) for one in (pixels, ids))
    padding = [0, 0, view.crop[1] - shown[1], view.crop[0] - shown[0]]
    padded = functional.pad(ids, padding, fill=VOID)[0].numpy()
    return np.asarray(functional.pad(pixels, padding, fill=GREY)), padded


def on_a_border(view, axis):
    """Whether the middle of a pixel of the crop lies between two of the picture, where either is right."""
    places = view.offset[axis] + np.arange(view.shown[axis])
    return (2 * places + 1) * view.source[axis] % (2 * view.size[axis]) == 0


def compare(image, segments, view):
    """Differences of grey levels, after segments were found equal."""
    wanted, wanted_segments = one_after_the_other(image, segments, view)
    found = crop_of_segments(segments, view)
    either = np.zeros(view.crop, bool)
    rows, columns = view.shown
    either[:rows, :columns] = on_a_border(view, 0)[:, None] | on_a_border(view, 1)
    np.testing.assert_array_equal(found[~either], wanted_segments[~either])
    assert (found[rows:] == VOID).all()
    assert (found[:, columns:] == VOID).all()
    return np.abs(crop_of_image(image, view).astype(int) - wanted), either.mean()


def test_equal_on_noise():
    rng = np.random.default_rng(3)
    different, either = [], []
    for height, width in rng.integers(40, 140, (80, 2)).tolist():
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        segments = rng.integers(-1, 300, (height, width)).astype(np.int16)
        view = draw_view((height, width), crop=(96, 128), scales=(0.1, 2.0), flip=0.5, draw=rng.random)
        levels, undecided = compare(image, segments, view)
        assert levels.max() <= 2
        different.append((levels > 0).mean())
        either.append(undecided)
    assert np.mean(different) < 0.05  # small whole numbers make many values end in exactly a half
    assert np.mean(either) < 0.1


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="coco_mini is not there")
def test_equal_on_photographs():
    dataset = COCOPanoptic(root=COCO_MINI)
    rng = np.random.default_rng(4)
    counts = np.zeros(256, np.int64)
    for index in range(12):
        image, (segments, _) = dataset.image(index), segments_of(dataset, index)
        view = draw_view(image.shape[:2], crop=(1024, 1024), scales=(0.1, 2.0), flip=0.5, draw=rng.random)
        levels, _ = compare(image, segments, view)
        counts += np.bincount(levels.ravel(), minlength=256)
    assert counts[1] < 0.005 * counts.sum()
    assert counts[2] < 1e-5 * counts.sum()
    assert counts[3:].sum() == 0


def pair(size=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    segments = rng.integers(0, 5, size).astype(np.int16)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return tv_tensors.Image(pixels), tv_tensors.Mask(torch.from_numpy(segments))


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_at_scale_one_a_picture_of_the_crop_s_size_stays(flip):
    image, segments = pair()
    crop, ids = LargeScaleJitter(crop=(30, 40), scales=(1.0, 1.0), flip=flip)(image, segments)
    assert isinstance(crop, tv_tensors.Image)
    assert isinstance(ids, tv_tensors.Mask)
    assert torch.equal(crop, image.flip(-1) if flip else image)
    assert torch.equal(ids, segments.flip(-1) if flip else segments)


def test_padding_is_grey_and_void():
    crop, ids = LargeScaleJitter(crop=(64, 64), scales=(0.5, 0.5))(*pair((32, 32)))
    assert crop.shape == (3, 64, 64)
    assert (crop[:, 32:] == 128).all()
    assert (crop[:, :, 32:] == 128).all()
    assert (ids[32:] == -1).all()
    assert (ids[:, 32:] == -1).all()
    assert (ids[:32, :32] >= 0).all()


def test_it_draws_from_torch_s_generator_and_composes():
    transform = v2.Compose([LargeScaleJitter(crop=(24, 24)), v2.RandomHorizontalFlip(0.5)])
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(transform(*pair()))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_segments_whose_pixels_are_cropped_away_do_not_come_back():
    segments = np.zeros((10, 10), np.int16)
    segments[0, 0] = 1
    view = View((10, 10), False, (20, 20), (4, 4), (16, 16))
    assert set(np.unique(crop_of_segments(segments, view))) == {0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"crop": (0, 5)}, r"crop=\[0, 5\]: give a height and a width of at least 1, as crop=\[1024,1024\]"),
        ({"scales": (2.0, 0.1)}, r"scales=\[2.0, 0.1\]: give the smallest, above 0, and the largest"),
        ({"scales": (0.0, 0.1)}, "give the smallest, above 0"),
        ({"flip": 1.5}, r"flip=1.5 is no probability. Give 0 \(never\) to 1 \(always\), as flip=0.5"),
    ],
)
def test_values_out_of_range(given, says):
    with pytest.raises(ConfigError, match=says):
        LargeScaleJitter(**given)
