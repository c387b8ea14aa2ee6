"""Sums per class, groups of classes and the arithmetic on them."""

import math

import numpy as np
import pytest
from helpers.drawn_segments import SUBJECT, VOCABULARY

from ovseg.evaluation.class_sums import class_sums, mean_defined, ratio, sparse
from ovseg.evaluation.groups import class_groups, harmonic_mean
from ovseg.evaluation.subject import Subject

RECORDS = (
    {"classes": [1, 3], "a": [10, 20], "b": [0.5, 0.25]},
    {"classes": [], "a": [], "b": []},
    {"classes": [0, 3], "a": [1, 2], "b": [0.1, 0.2]},
)


def test_sums_are_of_the_pictures_that_were_drawn():
    weights = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 0.0]])
    sums = class_sums(RECORDS, ("a", "b"), 5).weighted(weights)
    assert sums.shape == (2, 5, 2)
    np.testing.assert_array_equal(sums[0].T, [[1, 10, 0, 22, 0], [0, 20, 0, 40, 0]])
    np.testing.assert_allclose(sums[1].T, [[0.1, 0.5, 0, 0.45, 0], [0, 1, 0, 0.5, 0]])


def test_no_records():
    sums = class_sums([], ("a", "b"), 5)
    assert sums.pictures == 0
    np.testing.assert_array_equal(sums.weighted(np.ones((0, 1))), np.zeros((2, 5, 1)))


def test_large_counts_stay_exact():
    records = [{"classes": [0], "a": [2**51 + 1]}, {"classes": [0], "a": [2**51]}]
    assert class_sums(records, ("a",), 1).weighted(np.ones((2, 1))).item() == 2**52 + 1


def test_a_sparse_record_leaves_out_what_is_zero():
    record = sparse({"a": np.array([0, 3, 0]), "b": np.array([0.0, 0.0, 0.5])})
    assert record == {"classes": [1, 2], "a": [3, 0], "b": [0.0, 0.5]}
    assert [type(number) for number in (*record["a"], *record["b"])] == [int, int, float, float]


def test_ratio_and_mean():
    part, whole = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[2.0, 0.0], [4.0, 5.0]])
    np.testing.assert_array_equal(ratio(part, whole), [[0.5, np.nan], [0.75, 0.0]])
    np.testing.assert_array_equal(ratio(part, whole, undefined=0.0), [[0.5, 0.0], [0.75, 0.0]])
    np.testing.assert_array_equal(mean_defined(ratio(part, whole)), [0.625, 0.0])
    np.testing.assert_array_equal(mean_defined(np.full((2, 1), np.nan)), [np.nan])


def test_harmonic_mean():
    low, zero, none = harmonic_mean(np.array([1.0, 0.0, np.nan]), np.array([3.0, 0.0, 2.0]))
    assert (low, zero) == (1.5, 0)
    assert math.isnan(none)


def test_groups():
    groups = class_groups(SUBJECT, by_kind=True)
    assert list(groups) == ["", "/things", "/stuff", "/seen", "/unseen"]
    assert np.flatnonzero(groups["/stuff"]).tolist() == [3, 4]
    assert np.flatnonzero(groups["/unseen"]).tolist() == [1, 4, 5]
    assert groups[""].all()
    assert list(class_groups(SUBJECT, by_kind=False)) == ["", "/seen", "/unseen"]
    assert list(class_groups(Subject(VOCABULARY, (True,) * 6), by_kind=False)) == [""]


def test_a_subject_says_of_every_class_whether_it_was_seen():
    with pytest.raises(ValueError, match="is_seen has 2 entries for 6 classes"):
        Subject(VOCABULARY, (True, False))
