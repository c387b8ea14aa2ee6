"""What toyworld's trainings change pictures with, and what they are measured by."""

import numpy as np
import pytest
from helpers.toyworld_benchmarks import find_scripts

find_scripts()
from augment import cut, jitter_colours, random_crop, soften  # noqa: E402
from grouping import cosines, grouping, patch_segments  # noqa: E402


def noise(size: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (size, size, 3)).astype(np.uint8)


def test_a_crop_at_its_own_size_is_the_pixels() -> None:
    picture = noise(20)
    found = cut(picture, (3.0, 5.0, 8.0), 8, flip=False)
    np.testing.assert_array_equal(found, picture[5:13, 3:11])
    np.testing.assert_array_equal(cut(picture, (3.0, 5.0, 8.0), 8, flip=True), found[:, ::-1])


def test_a_crop_made_smaller_takes_ids_from_the_middles() -> None:
    ids = np.arange(144, dtype=np.uint8).reshape(12, 12)
    for flip in (False, True):
        found = cut(ids, (0.0, 0.0, 12.0), 4, flip=flip, nearest=True)
        np.testing.assert_array_equal(found, ids[1::3, 1::3][:, :: -1 if flip else 1])


def test_crops_lie_inside_and_have_the_areas() -> None:
    random = np.random.RandomState(0)
    crops = np.array([random_crop(100, (0.25, 0.64), random) for _ in range(200)])
    assert crops[:, 2].min() >= 50
    assert crops[:, 2].max() <= 80
    assert crops[:, :2].min() >= 0
    assert (crops[:, :2] + crops[:, 2:]).max() <= 100


def test_colours_without_strength_stay() -> None:
    picture = noise(8)
    near = jitter_colours(picture, 0.0, np.random.RandomState(0)).astype(int)
    assert abs(near - picture).max() <= 1
    assert (jitter_colours(picture, 0.5, np.random.RandomState(0)) != picture).any()


def test_softening_keeps_size_and_mean_and_takes_detail() -> None:
    picture = noise(32)
    soft = soften(picture, 8)
    assert soft.shape == picture.shape
    assert soft.mean() == pytest.approx(picture.mean(), abs=1)
    assert soft.std() < 0.6 * picture.std()


def test_patches_belong_to_what_fills_them() -> None:
    ids = np.ones((8, 8), np.int32)
    ids[:4, 4:] = 7  # all of the second patch
    ids[4:6, 4:] = 7  # half of the fourth
    ids[4, 0] = 7  # one pixel of the third's sixteen
    np.testing.assert_array_equal(patch_segments(ids, (2, 2)), [1, 7, 1, -1])


def test_the_area_is_the_share_of_ordered_pairs() -> None:
    random = np.random.RandomState(3)
    likeness = random.rand(9, 9).round(1)  # with ties
    segments = np.array([1, 1, 1, 2, 2, 3, 3, -1, 3])
    pairs = [(i, j) for i in range(9) for j in range(i) if segments[i] >= 0 and segments[j] >= 0]
    said = {(i, j): (likeness[i, j] + likeness[j, i]) / 2 for i, j in pairs}
    inside = [said[i, j] for i, j in pairs if segments[i] == segments[j]]
    across = [said[i, j] for i, j in pairs if segments[i] != segments[j]]
    wins = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in across])
    found = grouping([(likeness, segments)])
    assert found.auc == pytest.approx(wins)
    assert found.within == pytest.approx(np.mean(inside))
    assert found.across == pytest.approx(np.mean(across))


def test_pictures_of_one_segment_say_nothing() -> None:
    perfect = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
    single = np.zeros((3, 3)), np.array([1, 1, 1])
    assert grouping([(perfect, np.array([1, 1, 2])), single]).auc == 1


def test_cosines_of_rows() -> None:
    rows = np.array([[2.0, 0], [3, 3], [0, 0]])
    np.testing.assert_allclose(cosines(rows), [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0], [0, 0, 0]], atol=1e-12)
