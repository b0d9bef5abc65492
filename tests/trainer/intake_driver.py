"""The trainer's own loop over records from a file, as a process that can be killed.

`python -m tests.trainer.intake_driver DATA RECORDS TRIGGER [--once] [--curated]`. RECORDS holds one
JSON object a line: partition, offset, value (base64). Without `--once` the ends are told as in a
stream: each read ends at what has come so far. With `--curated` not every pair is taken by the next
dataset. Refused records are appended to DATA/refused.
"""

import base64
import json
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.settings import TrainerSettings
from schemas.source import Source
from trainer.intake import Intake, Record
from trainer.layout import DataDir
from trainer.service import serve
from trainer.source import open_source, remember_starts
from trainer.traces import TrainerTraces
from trainer.trigger import has_reached
from trainer.vitals import TrainerVitals

TOPIC = "pairs"
RECORDS_A_READ = 9


class FileConsumer:
    """Stands for PairsConsumer."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self._records: list[tuple[int, int, bytes]] = [
            (each["partition"], each["offset"], base64.b64decode(each["value"]))
            for each in map(json.loads, path.read_text().splitlines())
        ]
        self._stop = stop
        self.ended: dict[int, int] = {}
        self.has_heard_of_all = True
        partitions = {partition for partition, _, _ in self._records}
        self.earliest = dict.fromkeys(partitions, 0)
        self.ends_at_start = {
            wanted: max(offset for partition, offset, _ in self._records if partition == wanted) + 1
            for wanted in partitions
        }
        self._positions: dict[int, int] = {}

    def start(self, positions: Mapping[int, int]) -> None:
        self._positions = dict(positions)

    def read(self) -> list[Record]:
        left = [each for each in self._records if each[1] >= self._positions[each[0]]]
        part = left[:RECORDS_A_READ]
        for partition, offset, _ in part:
            self._positions[partition] = offset + 1
        if len(left) <= RECORDS_A_READ:
            self._stop.set()
        return [(Origin(TOPIC, p, offset), None, [], value) for p, offset, value in part]

    def known_ends(self) -> dict[int, int]:
        return dict(self._positions)

    def show_position(self, positions: Mapping[int, int]) -> None:
        assert has_reached(self._positions, positions)


class FileOutbox:
    """Stands for Outbox."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []

    def refuse(
        self,
        key: bytes | None,
        value: bytes | None,
        original: Iterable[Header],
        origin: Origin,
        error: InvalidRecord,
    ) -> None:
        self._waiting.append(f"{origin.partition} {origin.offset} {error.reason}\n")

    def deliver(self) -> None:
        with self._path.open("a") as file:
            file.writelines(self._waiting)
        self._waiting.clear()


class NoTrainings:
    """Stands for Trainings."""

    def check(self) -> None:
        pass

    def wake(self) -> None:
        pass


def main(root: str, records: str, trigger_pairs: str, *, once: bool, curated: bool) -> None:
    data = DataDir(Path(root))
    settings = TrainerSettings(
        data_dir=data.root,
        trigger_pairs=int(trigger_pairs),
        segment_pairs=4,
        segment_seconds=3600.0,
        launcher="none",
        max_garbled_share=0.3 if curated else 1.0,
    )
    stop = threading.Event()
    consumer = FileConsumer(Path(records), stop)
    source = Source("cluster", TOPIC, "topic-id", len(consumer.earliest))
    known = remember_starts(data, open_source(data, source), consumer.earliest)
    intake = Intake(data, settings, source, known.starts or {})
    consumer.start(intake.positions)
    serve(
        settings,
        consumer,
        intake,
        FileOutbox(data.root / "refused"),
        NoTrainings(),
        once=once,
        stop=threading.Event() if once else stop,
        vitals=TrainerVitals(settings),
        traces=TrainerTraces(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:4], once="--once" in sys.argv, curated="--curated" in sys.argv)
