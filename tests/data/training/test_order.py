"""The stream of pictures and each process's share."""

from itertools import islice

import pytest

from ovseg.data.training.order import Places, Share, picture_at
from ovseg.errors import ConfigError


def epoch(number, pictures=50, seed=3):
    return [picture_at(number * pictures + place, pictures, seed) for place in range(pictures)]


def test_each_epoch_has_every_picture_once_in_its_own_order():
    epochs = [epoch(number) for number in range(4)]
    assert all(sorted(one) == list(range(50)) for one in epochs)
    assert len({tuple(one) for one in epochs}) == 4
    assert epochs[2] == epoch(2)  # asked for again, after others
    assert epoch(0, seed=4) != epochs[0]
    assert picture_at(10**12, 1, 0) == 0


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_processes_together_see_what_one_sees(world_size):
    alone = Share(6)
    shares = [Share(6 // world_size, rank, world_size) for rank in range(world_size)]
    for iteration in (0, 1, 17):
        together = [place for share in shares for place in share.places(iteration)]
        assert together == alone.places(iteration)
    assert {share.all_together for share in shares} == {6}


def test_batches_follow_each_other():
    seen = [place for iteration in range(5) for place in Share(4).places(iteration)]
    assert seen == list(range(20))


def test_a_pass_begins_where_it_is_told():
    places = Places(Share(2, 1, 2))
    assert list(islice(places, 2)) == [[2, 3], [6, 7]]
    places.start = 1
    assert list(islice(places, 2)) == [[6, 7], [10, 11]]


def test_shares_that_cannot_be():
    with pytest.raises(ConfigError, match="batch_size=0: give at least 1 picture per batch"):
        Share(0)
    for rank, world_size in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ConfigError, match=f"rank={rank}, world_size={world_size}: processes are counted"):
            Share(1, rank, world_size)
