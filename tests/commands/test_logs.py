"""Logs of libraries: what would flood them is said now and then."""

import logging

from pairstream.logs import PAUSE_SECONDS, Throttle


def line(name: str, text: str, at: float, *values: object) -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "", 0, text, values, None)
    record.created = at
    return record


def test_lines_that_differ_in_their_values_alone_pass_once_within_a_pause() -> None:
    throttle = Throttle()
    away = [line("aiokafka.client", "Unable connect to %s", 10 + n / 50, n) for n in range(100)]

    assert [throttle.filter(each) for each in away].count(True) == 1
    assert throttle.filter(line("aiokafka.client", "Unable connect to %s", 10 + PAUSE_SECONDS, 1))


def test_other_lines_pass() -> None:
    throttle = Throttle()
    lines = [
        line("aiokafka.client", "Unable connect to %s", 10, 1),
        line("aiokafka.client", "Topic %s is not available", 10, 1),
        line("aiokafka.consumer", "Unable connect to %s", 10, 1),
        *(line("pairstream.state", "partitions_taken_over", 10) for _ in range(3)),
    ]

    assert all(throttle.filter(each) for each in lines)
