"""Follows logs and topics as they grow, for people who watch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from schemas import clients
from schemas.settings import TopicSettings

READ_SECONDS = 0.05
RECORDS_A_READ = 500


class LogTail:
    """Complete lines that a file has gained since the last look; it need not be there yet.

    A file that became shorter was written anew, and is read from its start.
    """

    def __init__(self, path: Path, tell: Callable[[str], str | None]) -> None:
        self._path = path
        self._tell = tell
        self._read = 0

    def news(self) -> Iterator[str]:
        """What `tell` makes of each line."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            if file.seek(0, 2) < self._read:
                self._read = 0
            file.seek(self._read)
            new, _, _ = file.read().rpartition(b"\n")
        if not new:
            return
        self._read += len(new) + 1
        for line in new.decode(errors="replace").splitlines():
            told = self._tell(line)
            if told is not None:
                yield told


class RowTail:
    """Values of a topic from its beginning on, as they come; a context manager."""

    def __init__(self, settings: TopicSettings, topic: str) -> None:
        self._consumer = Consumer(clients.reader(settings, group="tail"))
        self._consumer.assign(
            [TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(settings.partitions)]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def news(self) -> Iterator[bytes]:
        """What has come since the last look."""
        for message in self._consumer.consume(RECORDS_A_READ, timeout=READ_SECONDS):
            value = message.value()
            if message.error() is None and value is not None:
                yield value
