"""What holds the trigger back beside the count, and what has it fire with fewer pairs."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.settings import TrainerSettings
from trainer.policies import Moment, Policies, reasons_to_wait, shown_span
from trainer.trigger import Trigger

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
END = {0: 10}


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-30T{clock}:00+00:00")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def waits(policies: Policies, moment: Moment, *, missing: int = 0) -> list[str]:
    return [wait.why for wait in reasons_to_wait(policies, moment, pairs=1000, missing=missing)]


@pytest.mark.parametrize(
    ("missing", "oldest_at", "expected"),
    [
        (0, None, []),
        (0, ago(1), []),
        (588, ago(3600), []),
        (588, ago(9999), []),
        (588, ago(3599), ["412 of 1000 pairs, or the oldest one's age in 0:00:01"]),
        (588, ago(3599.5), ["412 of 1000 pairs, or the oldest one's age in 0:00:01"]),
        (588, None, ["412 of 1000 pairs"]),  # taken in, and in no segment yet
        (1000, ago(9999), ["0 of 1000 pairs"]),  # nothing new: there is nothing to be old
    ],
)
def test_a_pair_that_is_old_enough_stands_for_those_that_are_missing(
    missing: int, oldest_at: datetime | None, expected: list[str]
) -> None:
    moment = Moment(now=NOW, oldest_at=oldest_at)

    assert waits(Policies(age_seconds=3600), moment, missing=missing) == expected


@pytest.mark.parametrize(
    ("wanted", "tasks", "expected"),
    [(1, 0, []), (3, 2, ["2 of 3 tasks"]), (3, 3, []), (3, 4, [])],
)
def test_too_few_tasks_hold_it_back(wanted: int, tasks: int, expected: list[str]) -> None:
    assert waits(Policies(tasks=wanted), Moment(now=NOW, tasks=tasks)) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (Moment(now=NOW), []),
        (Moment(now=NOW, trains=True), ["the last training has not ended"]),
        (Moment(now=NOW, ended_at=ago(599)), ["cool-down for 0:00:01"]),
        (Moment(now=NOW, ended_at=ago(600)), []),
        (Moment(now=NOW, ended_at=NOW + timedelta(hours=1)), ["cool-down for 1:10:00"]),
    ],
)
def test_it_rests_after_a_training(moment: Moment, expected: list[str]) -> None:
    assert waits(Policies(cooldown_seconds=600), moment) == expected


@pytest.mark.parametrize(
    ("hours", "clock", "until"),
    [
        ("22:00-06:00", "21:59", None),
        ("22:00-06:00", "22:00", "06:00"),
        ("22:00-06:00", "23:59", "06:00"),
        ("22:00-06:00", "00:00", "06:00"),
        ("22:00-06:00", "05:59", "06:00"),
        ("22:00-06:00", "06:00", None),
        ("09:30-17:00", "09:29", None),
        ("09:30-17:00", "09:30", "17:00"),
        ("09:30-17:00", "17:00", None),
        ("00:00-00:00", "00:00", None),
        ("12:00-12:00", "12:00", None),
    ],
)
def test_quiet_hours_begin_with_the_first_and_end_before_the_last(
    hours: str, clock: str, until: str | None
) -> None:
    expected = [f"quiet until {until} UTC"] if until else []

    assert waits(Policies(quiet_hours=hours), Moment(now=at(clock))) == expected


def test_quiet_hours_are_those_of_utc_wherever_the_host_stands() -> None:
    there = at("23:00").astimezone(timezone(timedelta(hours=9)))

    assert waits(Policies(quiet_hours="22:00-06:00"), Moment(now=there)) != []


def test_every_reason_is_told() -> None:
    policies = Policies(tasks=3, cooldown_seconds=600, quiet_hours="11:00-13:00")
    moment = Moment(now=NOW, tasks=1, ended_at=ago(60))

    assert waits(policies, moment, missing=588) == [
        "412 of 1000 pairs", "1 of 3 tasks", "cool-down for 0:09:00", "quiet until 13:00 UTC"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("span", "shown"),
    [(0, "0:00:00"), (0.1, "0:00:01"), (59, "0:00:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_spans_are_shown_in_hours_minutes_and_seconds(span: float, shown: str) -> None:
    assert shown_span(timedelta(seconds=span)) == shown


def test_by_default_no_policy_is_on() -> None:
    assert Policies.of(TrainerSettings()) == Policies()


# The same examples every time: no test may depend on luck.
@settings(deadline=None, derandomize=True, database=None)
@given(
    new_pairs=st.integers(0, 30),
    seen=st.integers(0, 5),
    positions=st.fixed_dictionaries({0: st.integers(8, 12)}),
    oldest=st.none() | st.integers(0, 10_000).map(ago),
    trains=st.booleans(),
)
def test_with_every_policy_off_the_count_alone_decides(
    new_pairs: int, seen: int, positions: dict[int, int], oldest: datetime | None, trains: bool
) -> None:
    by_count, with_moment = Trigger(10), Trigger(10, Policies())
    for trigger in (by_count, with_moment):
        trigger.fired(left=seen, at=NOW)
    moment = Moment(now=NOW, oldest_at=oldest, trains=trains, ended_at=NOW)

    assert with_moment.fires(
        new_pairs, positions=positions, ends=END, moment=moment
    ) == by_count.fires(new_pairs, positions=positions, ends=END)


@settings(deadline=None, derandomize=True, database=None)
@given(
    missing=st.integers(0, 1000),
    age=st.none() | st.integers(1, 7200),
    tasks=st.integers(1, 4),
    cooldown=st.none() | st.integers(1, 7200),
    oldest=st.integers(0, 7200),
    seen_tasks=st.integers(0, 4),
    ended=st.none() | st.integers(0, 7200),
    later=st.integers(0, 7200),
)
def test_more_pairs_more_tasks_and_more_time_never_make_it_wait(
    missing: int,
    age: int | None,
    tasks: int,
    cooldown: int | None,
    oldest: int,
    seen_tasks: int,
    ended: int | None,
    later: int,
) -> None:
    policies = Policies(age_seconds=age, tasks=tasks, cooldown_seconds=cooldown)

    def reasons(now: datetime, more: int) -> int:
        moment = Moment(
            now=now,
            oldest_at=ago(oldest),
            tasks=seen_tasks + more,
            ended_at=None if ended is None else ago(ended),
        )
        return len(waits(policies, moment, missing=max(0, missing - more)))

    assert reasons(NOW + timedelta(seconds=later), 1) <= reasons(NOW, 0)


def test_it_fires_by_age_and_what_was_tried_in_vain_is_as_old_as_the_try() -> None:
    trigger = Trigger(1000, Policies(age_seconds=60))
    old = ago(3600)

    def fires(new_pairs: int, seconds: float) -> bool:
        moment = Moment(now=NOW + timedelta(seconds=seconds), oldest_at=old)
        return trigger.fires(new_pairs, positions=END, ends=END, moment=moment)

    assert fires(5, 0)
    trigger.fired(left=5, at=NOW)

    assert not fires(5, 3600)  # no new pair since
    assert not fires(6, 59)
    assert fires(6, 60)
    trigger.fired(left=0, at=NOW)
    assert fires(1, 0)  # what is new after a cut is as old as its segment


def test_a_policy_holds_back_what_the_count_would_cut_and_what_is_known_is_read_first() -> None:
    trigger = Trigger(10, Policies(quiet_hours="11:00-13:00"))
    noon, one = Moment(now=NOW), Moment(now=at("13:00"))

    assert not trigger.fires(10, positions=END, ends=END, moment=noon)
    assert not trigger.fires(10, positions={0: 9}, ends=END, moment=one)
    assert trigger.fires(10, positions=END, ends={0: 99}, moment=one)
