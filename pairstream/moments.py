"""Times as people type them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

EPOCH = datetime.fromtimestamp(0, UTC)

_SPAN = re.compile("([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class MomentType(click.ParamType):
    """A time, in UTC where it names no zone, or how long ago it was."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            if span := _SPAN.fullmatch(value):
                time = datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
            else:
                time = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            example = "a time such as 2026-11-24T21:30:00Z or a span such as 2h"
            self.fail(f"{value} is not {example}", param, ctx)
        return max(EPOCH, time if time.tzinfo else time.replace(tzinfo=UTC))
