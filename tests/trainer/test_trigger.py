"""When a dataset is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.trigger import Trigger, has_reached

END = {0: 10, 1: 20}


@pytest.mark.parametrize(
    ("new_pairs", "positions", "fires"),
    [
        (99, END, False),  # too few
        (100, END, True),
        (250, END, True),
        (250, {0: 10, 1: 19}, False),  # one more is known to be there
        (250, {0: 11, 1: 25}, True),
    ],
)
def test_it_fires_when_enough_are_there_and_all_that_is_known_was_read(
    new_pairs: int, positions: dict[int, int], fires: bool
) -> None:
    assert Trigger(100).fires(new_pairs, positions=positions, ends=END) is fires


@pytest.mark.parametrize(("new_pairs", "missing"), [(0, 100), (99, 1), (100, 0), (101, 0)])
def test_it_tells_how_many_are_missing(new_pairs: int, missing: int) -> None:
    assert Trigger(100).missing(new_pairs) == missing


def test_where_nothing_could_be_taken_it_fires_again_when_as_many_more_are_there() -> None:
    trigger = Trigger(10)
    assert trigger.fires(12, positions=END, ends=END)
    trigger.fired(left=12)

    fired = [trigger.fires(n, positions=END, ends=END) for n in range(12, 23)]

    assert fired == [False] * 10 + [True]
    trigger.fired(left=0)
    assert trigger.missing(3) == 7


def test_pairs_that_were_forgotten_after_a_try_in_vain_are_not_missed_twice() -> None:
    trigger = Trigger(10)
    trigger.fired(left=12)

    assert trigger.missing(7) == 10


def test_a_backlog_is_one_dataset() -> None:
    trigger = Trigger(10)
    fired = [trigger.fires(n, positions={0: n}, ends={0: 1000}) for n in range(1001)]

    assert fired.index(True) == 1000


def test_a_stream_that_is_always_ahead_is_cut_at_the_ends_that_were_known_first() -> None:
    trigger = Trigger(10)
    fired = [trigger.fires(n, positions={0: n}, ends={0: n + 5}) for n in range(100)]

    assert fired.index(True) == 15


def test_after_it_fired_the_ends_are_taken_down_anew() -> None:
    trigger = Trigger(1)
    assert trigger.fires(1, positions={0: 5}, ends={0: 5})

    assert not trigger.fires(1, positions={0: 6}, ends={0: 8})
    assert trigger.fires(1, positions={0: 8}, ends={0: 9})


# The same examples every time: no test may depend on luck.
@settings(deadline=None, derandomize=True, database=None)
@given(
    new_pairs=st.integers(0, 6),
    positions=st.fixed_dictionaries({0: st.integers(8, 12), 1: st.integers(18, 22)}),
    more=st.integers(0, 5),
)
def test_more_pairs_and_more_that_was_read_never_make_it_wait(
    new_pairs: int, positions: dict[int, int], more: int
) -> None:
    further = {partition: position + more for partition, position in positions.items()}

    if Trigger(3).fires(new_pairs, positions=positions, ends=END):
        assert Trigger(3).fires(new_pairs + more, positions=further, ends=END)


@pytest.mark.parametrize(
    ("positions", "reached"),
    [({0: 10, 1: 20}, True), ({0: 10, 1: 20, 2: 0}, True), ({0: 9, 1: 20}, False)],
)
def test_every_partition_counts(positions: dict[int, int], reached: bool) -> None:
    assert has_reached(positions, END) is reached
