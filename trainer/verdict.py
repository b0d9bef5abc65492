"""What a gate says of a candidate, as it stands in the manifest and is told to people."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

CheckName = Literal[
    "readable", "finite", "moved", "accuracy", "margin", "likelihood", "length", "repetition",
    "special_tokens", "empty", "command",
]  # fmt: skip

# What is told of a candidate that passed; of one that did not, what it failed by.
_TOLD_OF_PASSED = ("accuracy", "margin", "likelihood", "command")


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `passed` is null where it could not be judged."""

    name: CheckName
    passed: bool | None
    base: float | None = None
    candidate: float | None = None
    limit: str | None = None
    note: str | None = None

    @property
    def told(self) -> str:
        """For people, on one line."""
        measured = None
        if self.candidate is not None:
            base = "" if self.base is None else f", base {self.base:.4g}"
            limit = "" if self.limit is None else f", wanted {self.limit}"
            measured = f"{self.candidate:.4g}{base}{limit}"
        return f"{self.name}: {self.note or measured or 'not judged'}"


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a candidate may become `latest`. `note` says why it was not judged, or not wholly."""

    passed: bool
    pairs: int = 0
    note: str | None = None
    checks: list[Check] = []

    @property
    def word(self) -> str:
        """For a table."""
        if not self.passed:
            return f"refused: {', '.join(c.name for c in self.checks if c.passed is False)}"
        if self.note is None:
            return "passed"
        return "passed in part" if self.checks else "not judged"

    @property
    def told(self) -> str:
        """Why, for people, on one line."""
        if not self.passed:
            return "; ".join(check.told for check in self.checks if check.passed is False)
        shown = [each.told for each in self.checks if each.passed and each.name in _TOLD_OF_PASSED]
        return "; ".join([*([self.note] if self.note else []), *shown]) or "passed"

    def and_also(self, check: Check) -> "Verdict":
        """With one more check, which can only turn it down."""
        return replace(
            self,
            passed=self.passed and check.passed is not False,
            checks=[*self.checks, check],
        )
