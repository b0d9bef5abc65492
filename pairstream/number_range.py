"""Numbers as people type them."""

import math
from typing import Any

import click


class NumberRange(click.FloatRange):
    """Finite numbers of a range: click's lets nan pass, which is neither below nor above any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number
