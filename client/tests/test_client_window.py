"""Many events may be under way, but one alone after a failure."""

from pairstream_client.window import Window


def _fill(window: Window) -> int:
    before = window.under_way
    while window.has_room:
        window.left()
    return window.under_way - before


def test_a_window_holds_as_many_as_it_is_given() -> None:
    assert _fill(Window(7)) == 7


def test_what_did_not_leave_makes_room() -> None:
    window = Window(1)
    window.left()
    window.returned()

    assert window.has_room


def test_after_a_failure_one_travels_alone() -> None:
    window = Window(3)
    _fill(window)
    window.failed()

    assert not window.has_room
    window.arrived()
    window.failed()
    assert window.left()
    assert not window.has_room


def test_what_leaves_while_others_are_under_way_is_not_alone() -> None:
    """It was about to leave when one of the others failed."""
    window = Window(3)
    window.left()
    window.left()
    window.failed()

    assert not window.left()


def test_what_others_may_follow_is_not_alone() -> None:
    assert not Window(2).left()


def test_each_arrival_doubles_what_may_be_under_way_up_to_the_most() -> None:
    window = Window(5)
    window.left()
    window.failed()
    sizes = []
    for _ in range(4):
        sizes.append(_fill(window))
        for _ in range(window.under_way - 1):
            window.returned()
        window.arrived()

    assert sizes == [1, 2, 4, 5]
