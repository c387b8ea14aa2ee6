import threading
import time

import pytest

from ovseg.run.pipeline import ahead, behind, groups_of_one_kind


def test_ahead_keeps_the_order_and_its_bound():
    started = []

    def load(item):
        started.append(item)
        return item * 10

    results = ahead(load, range(20), depth=3)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(started) <= 5
    assert [0, *results] == [item * 10 for item in range(20)]


def test_ahead_runs_beside_the_caller_and_passes_errors_on():
    here = threading.get_ident()
    assert next(ahead(lambda _: threading.get_ident(), [0], depth=1)) != here

    def fail(item):
        raise ValueError(f"bad {item}")

    with pytest.raises(ValueError, match="bad 0"):
        next(ahead(fail, range(3), depth=1))


def test_ahead_stops_when_it_is_left():
    started = []
    results = ahead(started.append, range(1000), depth=4)
    next(results)
    results.close()
    count = len(started)
    time.sleep(0.05)
    assert len(started) == count <= 6


def test_behind_runs_in_order_and_finishes_what_was_submitted():
    done = []

    def leave():
        with behind(depth=10) as submit:
            for number in range(5):
                submit(lambda number=number: (time.sleep(0.01), done.append(number)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert done == [0, 1, 2, 3, 4]


def test_behind_is_bounded():
    gate = threading.Event()
    submitted = []

    def feed():
        with behind(depth=2) as submit:
            for number in range(6):
                submit(gate.wait)
                submitted.append(number)

    thread = threading.Thread(target=feed)
    thread.start()
    time.sleep(0.1)
    assert submitted == [0, 1]
    gate.set()
    thread.join()
    assert submitted == [0, 1, 2, 3, 4, 5]


def test_behind_raises_the_error_of_a_job():
    def fail():
        raise OSError("full")

    def feed():
        with behind(depth=1) as submit:
            submit(fail)

    with pytest.raises(OSError, match="full"):
        feed()


def group(text, size, look_ahead):
    return ["".join(letters) for letters in groups_of_one_kind(text, str.lower, size, look_ahead)]


def test_groups():
    assert group("aAbaB", 2, 8) == ["aA", "bB", "a"]
    assert group("abcd", 1, 4) == ["a", "b", "c", "d"]
    assert group("", 3, 9) == []
    assert group("aaaaa", 2, 8) == ["aa", "aa", "a"]


def test_groups_wait_no_longer_than_the_look_ahead():
    taken = []

    def items():
        for letter in "abcdefgh":
            taken.append(letter)
            yield letter

    first = next(groups_of_one_kind(items(), str.lower, 3, 4))
    assert first == ["a"]
    assert taken == ["a", "b", "c", "d"]
