"""What the rows of the table share: the options of a run, its broker, its folders."""

import itertools
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.deployment import PARTITIONS, Deployment
from benchmarks.load import Load
from benchmarks.report import Figures, Goal, Measured
from tests.apache_kafka import ApacheKafka


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        scale: of the loads: 1 for the figures of the table.
    """

    kafka_home: Path
    turns: int = 3
    scale: float = 1.0
    recorded: Path | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table and what measures it."""

    letter: str
    what: str
    goals: Sequence[Goal]
    measure: "Callable[[Bench], Measured]"


class Bench:
    """One run of the benchmarks: one node of Apache Kafka, started when it is first needed."""

    def __init__(self, options: Options, kafka: ApacheKafka | None = None) -> None:
        """`kafka`: a node that runs already."""
        self.options = options
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._kafka = kafka
        self._folder: Path | None = None
        self.is_warm = False

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def kafka(self) -> ApacheKafka:
        if self._kafka is None:
            node = ApacheKafka(self.options.kafka_home, self.new_folder())
            self._kafka = self._stack.enter_context(node)
        return self._kafka

    def new_folder(self) -> Path:
        assert self._folder is not None
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    @contextmanager
    def deployment(self, *, partitions: int = PARTITIONS) -> Iterator[Deployment]:
        """Topics of their own within the block."""
        made = Deployment(
            self.kafka.bootstrap_servers,
            f"bench-{uuid.uuid4().hex[:8]}.",
            self.new_folder(),
            partitions=partitions,
        )
        try:
            yield made
        finally:
            made.remove()

    def load(self, events: int, *, interleaved: int = 1) -> Load:
        """So many events at full scale."""
        return Load(self.scaled(events), self.options.recorded, interleaved)

    def whole_load(self, events: int, *, interleaved: int = 1) -> Load:
        """So many events at any scale."""
        return Load(events, self.options.recorded, interleaved)

    def scaled(self, count: int) -> int:
        return max(1, round(count * self.options.scale))

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def told(self, turn: Figures) -> Figures:
        """The figures of a turn, said as they come."""
        self.say(", ".join(f"{name} {value:,.4g}" for name, value in turn.items()))
        return turn
