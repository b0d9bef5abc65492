"""What holds the trigger back, or moves it forward, beside the count of new pairs. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from msgspec import Struct

from schemas.settings import TrainerSettings


class Wait(Struct, frozen=True):
    """One reason why no dataset is cut now; `why` is for people."""

    policy: Literal["pairs", "tasks", "cooldown", "quiet_hours"]
    why: str


@dataclass(frozen=True, kw_only=True)
class Policies:
    """All are off by default."""

    age_seconds: float | None = None
    tasks: int = 1
    cooldown_seconds: float | None = None
    quiet_hours: str | None = None

    @classmethod
    def of(cls, settings: TrainerSettings) -> "Policies":
        return cls(
            age_seconds=settings.trigger_age_seconds,
            tasks=settings.trigger_tasks,
            cooldown_seconds=settings.trigger_cooldown_seconds,
            quiet_hours=settings.trigger_quiet_hours,
        )


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the policies look at; times are aware.

    `oldest_at`: when the oldest new pair was taken in. `tasks`: of the new pairs, or as many as the
    policy asks for. `ended_at`: when the last training ended. `trains`: it has not ended yet.
    """

    now: datetime
    oldest_at: datetime | None = None
    tasks: int = 0
    ended_at: datetime | None = None
    trains: bool = False


def reasons_to_wait(policies: Policies, moment: Moment, *, pairs: int, missing: int) -> list[Wait]:
    """Why no dataset is cut now; with none, it is time. `missing` of the `pairs` that are wanted.

    The pairs must be many enough, or the oldest one old enough; all the rest must agree.
    """
    reasons = [
        _pairs(policies, moment, pairs, missing),
        _tasks(policies, moment),
        _cooldown(policies, moment),
        _quiet(policies, moment),
    ]
    return [reason for reason in reasons if reason is not None]


def _pairs(policies: Policies, moment: Moment, pairs: int, missing: int) -> Wait | None:
    if not missing:
        return None
    why = f"{pairs - missing} of {pairs} pairs"
    if policies.age_seconds is not None and moment.oldest_at is not None and missing < pairs:
        left = moment.oldest_at + timedelta(seconds=policies.age_seconds) - moment.now
        if left <= timedelta(0):
            return None
        why += f", or the oldest one's age in {shown_span(left)}"
    return Wait("pairs", why)


def _tasks(policies: Policies, moment: Moment) -> Wait | None:
    if policies.tasks <= 1 or moment.tasks >= policies.tasks:
        return None
    return Wait("tasks", f"{moment.tasks} of {policies.tasks} tasks")


def _cooldown(policies: Policies, moment: Moment) -> Wait | None:
    if policies.cooldown_seconds is None:
        return None
    if moment.trains:
        return Wait("cooldown", "the last training has not ended")
    if moment.ended_at is None:
        return None
    left = moment.ended_at + timedelta(seconds=policies.cooldown_seconds) - moment.now
    if left <= timedelta(0):
        return None
    return Wait("cooldown", f"cool-down for {shown_span(left)}")


def _quiet(policies: Policies, moment: Moment) -> Wait | None:
    if policies.quiet_hours is None:
        return None
    start, end = (time.fromisoformat(part) for part in policies.quiet_hours.split("-"))
    now = moment.now.astimezone(UTC).time()
    is_quiet = start <= now < end if start <= end else now >= start or now < end
    return Wait("quiet_hours", f"quiet until {end:%H:%M} UTC") if is_quiet else None


def shown_span(span: timedelta) -> str:
    """Hours, minutes, seconds; a part of a second counts as one."""
    seconds = -(-span // timedelta(seconds=1))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
