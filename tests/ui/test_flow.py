"""Rates and lags, from two looks at the brokers."""

from pairstream.ui.flow import Flow, lags, rates
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, RUN_OUTCOMES, Names

NAMES = Names("p.")
EVENTS, REQUESTS, PAIR_ROWS = map(NAMES.topic, (RUN_EVENTS, GARBLE_REQUESTS, PAIRS))


def flow(at: float, events: int, pairs: int = 0) -> Flow:
    ranges = {
        EVENTS: {0: (0, events), 1: (5, 5)},
        REQUESTS: {0: (0, 3)},
        PAIR_ROWS: {0: (0, pairs)},
        NAMES.topic(RUN_OUTCOMES): {0: (0, 0)},
    }
    return Flow(at, ranges, {EVENTS: {0: 40, 1: 5}, PAIR_ROWS: {0: 1}})


def test_rates_are_records_a_second_between_two_looks() -> None:
    found = rates([flow(10, 100), flow(12, 150), flow(16, 150, pairs=8)], NAMES)

    assert found["events"] == [(-4, 25), (0, 0)]
    assert found["pairs"] == [(-4, 0), (0, 2)]
    assert found["runs settled"] == [(-4, 0), (0, 0)]


def test_topics_made_anew_give_no_negative_rate() -> None:
    assert rates([flow(10, 100), flow(11, 5)], NAMES)["events"] == [(0, 0)]


def test_one_look_gives_no_rate() -> None:
    assert rates([flow(10, 100)], NAMES)["events"] == []


def test_lag_is_what_the_reader_has_not_done_with() -> None:
    found = {(each.topic, each.partition): each for each in lags(flow(1, 100, pairs=8), NAMES)}

    assert found[EVENTS, 0][1:] == ("worker", 0, 100, 60)
    assert found[EVENTS, 1][1:] == ("worker", 1, 0, 0)
    assert found[REQUESTS, 0][1:] == ("worker", 0, 3, None)
    assert found[PAIR_ROWS, 0][1:] == ("trainer", 0, 8, 7)
