"""Views are drawn as detectron2 draws them."""

from fractions import Fraction

import numpy as np
import pytest

from ovseg.data.training.views import View, draw_view


def detectron2_view(source, crop, scales, numbers):
    """`RandomFlip`, `ResizeScale` and `FixedSizeCrop` in numpy: flip, resized size, first row and column."""
    flip, scale, place = numbers
    target = np.multiply(crop, scales[0] + scale * (scales[1] - scales[0]))
    size = np.round(np.multiply(source, np.minimum(target[0] / source[0], target[1] / source[1]))).astype(int)
    offset = np.round(np.multiply(np.maximum(np.subtract(size, crop), 0), place)).astype(int)
    return flip < 0.5, tuple(size), tuple(offset)


@pytest.mark.parametrize("crop", [(1024, 1024), (512, 1024)])
def test_the_official_rule(crop):
    rng = np.random.default_rng(0)
    enlarged = 0
    for source in rng.integers(200, 700, (300, 2)).tolist():
        numbers = rng.random(3).tolist()
        view = draw_view(tuple(source), crop=crop, scales=(0.1, 2.0), flip=0.5, draw=iter(numbers).__next__)
        assert (view.flip, view.size, view.offset) == detectron2_view(source, crop, (0.1, 2.0), numbers)
        enlarged += view.offset != (0, 0)
        assert all(0 < shown <= most for shown, most in zip(view.shown, crop, strict=True))
    assert enlarged > 50


def test_what_is_drawn_spreads_over_the_whole_range():
    draw = np.random.default_rng(1).random
    rule = {"crop": (100, 100), "scales": (0.5, 2.0), "flip": 0.25}
    views = [draw_view((100, 100), **rule, draw=draw) for _ in range(400)]
    sizes = np.array([view.size[0] for view in views])
    assert 0.19 < np.mean([view.flip for view in views]) < 0.31
    assert sizes.min() < 55
    assert sizes.max() > 195
    assert 115 < sizes.mean() < 135
    assert {view.offset[0] for view in views if view.size[0] == 100} <= {0}


def test_a_picture_never_vanishes():
    view = draw_view((3000, 2), crop=(64, 64), scales=(0.1, 0.1), flip=0.0, draw=lambda: 0.5)
    assert view.size == (6, 1)
    assert view.shown == (6, 1)


@pytest.mark.parametrize(("of", "to"), [(7, 20), (20, 7), (6, 9), (6, 4), (480, 1536), (427, 1)])
def test_nearest_is_the_pixel_under_the_middle(of, to):
    view = View((of, of), False, (to, to), (0, 0), (to, to))
    wanted = [(Fraction(2 * place + 1, 2) * of / to).__floor__() for place in range(to)]
    assert view.nearest(0).tolist() == view.nearest(1).tolist() == wanted
    mirrored = View((of, of), True, (to, to), (0, 0), (to, to))
    assert mirrored.nearest(0).tolist() == wanted
    assert mirrored.nearest(1).tolist() == [of - 1 - place for place in wanted]


def test_nearest_of_a_part_is_a_part_of_nearest():
    whole = View((480, 640), True, (960, 1280), (0, 0), (2000, 2000))
    part = View((480, 640), True, (960, 1280), (100, 300), (512, 512))
    for axis in (0, 1):
        first = part.offset[axis]
        np.testing.assert_array_equal(part.nearest(axis), whole.nearest(axis)[first : first + 512])
