"""An intake that is fed by hand."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.rows import encode
from schemas.settings import TrainerSettings
from schemas.source import Source
from tests.trainer.invariants import spread
from tests.trainer.made_pairs import make_pairs
from trainer.intake import Intake, Record
from trainer.layout import DataDir

PAIRS = make_pairs(24)
PARTITIONS = 3
SOURCE = Source("cluster", "pairs", "topic-id", PARTITIONS)
FROM_ZERO = dict.fromkeys(range(PARTITIONS), 0)

VALUES = [encode(pair) for pair in PAIRS]


def open_intake(root: Path, starts: dict[int, int] | None = None, **given: Any) -> Intake:
    return Intake(
        DataDir(root), TrainerSettings(data_dir=root, **given), SOURCE, starts or FROM_ZERO
    )


def records(values: Iterable[bytes]) -> list[Record]:
    return [
        (Origin("pairs", partition, offset), b"key", [("h", b"v")], value)
        for partition, offset, value in spread(values, PARTITIONS)
    ]


def feed_by_parts(
    intake: Intake, everything: list[Record], reads: list[tuple[int, str]]
) -> Iterator[None]:
    """Take in so many records at a time, and then close or cut, over and over; stops at each cut.

    At the end segments are closed and nothing more is cut.
    """
    left = list(everything)
    for count, then in cycle(reads):
        intake.take(left[:count], Refused())
        del left[:count]
        if then:
            intake.close_segments()
        if then == "cut" and intake.new_pairs:
            intake.cut()
            yield
        if not left:
            break
    intake.close_segments()


@dataclass
class Refused:
    """Dead letters that were asked for."""

    letters: list[tuple[bytes | None, bytes | None, list[Header], Origin, str]] = field(
        default_factory=list
    )

    def __call__(
        self,
        key: bytes | None,
        value: bytes | None,
        original: Iterable[Header],
        origin: Origin,
        error: InvalidRecord,
    ) -> None:
        self.letters.append((key, value, list(original), origin, error.reason))
