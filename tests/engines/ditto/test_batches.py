"""Batches keep the order of frames, and none is held back when nothing more is coming."""

import pytest

from engines.ditto.batches import InFlight, ranges


@pytest.mark.parametrize(
    ("frames", "batch", "expected"),
    [
        (1, 1, [([5], True)]),
        (1, 4, [([5], True)]),
        (5, 2, [([5, 6], False), ([7, 8], False), ([9], True)]),
        (4, 2, [([5, 6], False), ([7, 8], True)]),
    ],
)
def test_batches_follow_one_another_and_the_last_is_as_short_as_it_is(frames, batch, expected):
    assert [(list(numbers), last) for numbers, last in ranges(5, frames, batch)] == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_work_comes_back_in_order_behind_as_much_as_the_limit_allows(limit):
    flight, back = InFlight(limit), []
    for number in range(6):
        back += flight.add(number, last=False)
        assert back == list(range(max(0, number + 2 - limit)))
    back += flight.add(6, last=True)
    assert back == list(range(7))


def test_a_later_piece_of_motion_begins_with_nothing_left():
    flight = InFlight(3)
    assert [list(flight.add(number, last=number % 2 == 1)) for number in range(4)] == [[], [0, 1], [], [2, 3]]
