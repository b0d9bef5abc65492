"""What the agent needs of whoever thinks for it: a pool, a model, or yours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Message = dict[str, str]
Fault = Literal["infrastructure"]


@dataclass(frozen=True)
class Attempt:
    """A program and what it achieved; `score` is in bytes freed."""

    code: str
    compiled: bool
    ran: bool
    score: float
    error: str | None
    fault: Fault | None = None


class Writer(Protocol):
    """Thinks for one run."""

    def propose(self, prompt: Sequence[Message]) -> str:
        """Write a strategy, in prose."""

    def program(self, strategy: str, failed: Sequence[Attempt]) -> str:
        """Write a program for the strategy, knowing those that failed before."""


class Writers(Protocol):
    """Gives each run its writer."""

    @property
    def policy_id(self) -> str:
        """Which model writes: it stands in every run's report."""

    def for_run(self, number: int) -> Writer:
        """Make a run's writer; the same number gives one that writes the same."""
