"""Warnings that do not flood the log, and a model that is left alone for a while."""

from structlog.testing import capture_logs

from streams.stand_ins import (
    FAILURES_IN_A_ROW,
    REST_SECONDS,
    WARNING_SECONDS,
    Rest,
    StandIns,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_first_stand_in_is_told_at_once_and_the_others_together_later() -> None:
    clock = Clock()
    stand_ins = StandIns(clock)
    with capture_logs() as logs:
        stand_ins.stood_in("timed_out")
        stand_ins.took()
        for _ in range(500):
            stand_ins.stood_in("http_500")
        assert len(logs) == 1
        clock.now += WARNING_SECONDS
        stand_ins.stood_in("timed_out")
        stand_ins.stood_in("timed_out")

    assert logs == [
        {
            "event": "corrupt_stands_in",
            "log_level": "warning",
            "why": {"timed_out": 1},
            "since_start": 1,
            "sampled_since_start": 0,
        },
        {
            "event": "corrupt_stands_in",
            "log_level": "warning",
            "why": {"http_500": 500, "timed_out": 1},
            "since_start": 502,
            "sampled_since_start": 1,
        },
    ]
    assert stand_ins.reasons == {"http_500": 500, "timed_out": 3}


def test_model_rests_after_failures_in_a_row_and_is_then_tried_once_more() -> None:
    clock = Clock()
    rest = Rest(clock)
    for _ in range(FAILURES_IN_A_ROW - 1):
        rest.failed()
    rest.answered()
    for _ in range(FAILURES_IN_A_ROW - 1):
        rest.failed()
    assert not rest.is_on
    rest.failed()
    assert rest.is_on

    clock.now += REST_SECONDS
    assert not rest.is_on
    rest.failed()
    assert rest.is_on

    clock.now += REST_SECONDS
    rest.answered()
    rest.failed()
    assert not rest.is_on
