"""One start of the trainer, from its position on disk to the end of its records, in this process.

It runs the trainer's own loop and its own trainings; Kafka is a list and the script a few writes.
What the trainer said to the world is told to `say`, so that a test can hold it against what the
disk has later.
"""

import base64
import contextlib
import hashlib
import json
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.rows import TrainingStepName
from schemas.settings import TrainerSettings
from schemas.source import Source
from tests.trainer.intake_driver import TOPIC, FileConsumer
from tests.trainer.invariants import (
    all_lines,
    assert_sound,
    datasets,
    left_out,
    snapshot,
    spread,
)
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import line, make_pairs
from trainer import supervise
from trainer.datasets import DatasetManifest
from trainer.intake import Intake
from trainer.latest import read_history, read_latest
from trainer.launcher import Plan, Progress
from trainer.layout import DataDir
from trainer.process_launcher import ProcessLauncher
from trainer.service import serve
from trainer.source import open_source, remember_starts
from trainer.traces import TrainerTraces
from trainer.train_dpo.files import write_result
from trainer.trainings import Trainings
from trainer.vitals import TrainerVitals

PARTITIONS = 2
PAIRS = make_pairs(9)
BAD = [b"no pair", b"\xff\xfe"]
VALUES = [line(pair)[:-1] for pair in (*PAIRS[:6], *PAIRS[3:])]
VALUES[2:2], VALUES[9:9] = BAD[:1], BAD[1:]
RECORDS = spread(VALUES, PARTITIONS)
# Every pair once more.
REPEATED = spread([*VALUES, *(line(pair)[:-1] for pair in PAIRS)], PARTITIONS)
REFUSED = {(p, offset) for p, offset, value in RECORDS if value in BAD}

Records = list[tuple[int, int, bytes]]

# Two folders deep, so that both have to be made.
DATA = Path("srv", "data")

TRIGGER_PAIRS, SEGMENT_PAIRS = 5, 4

# So that each cut leaves pairs out, which the next one must know.
MAX_GARBLED_SHARE = 0.3


@dataclass
class Said:
    """What the world has heard: of no disk, it survives everything."""

    directory_ids: set[str] = field(default_factory=set)
    positions: dict[int, int] = field(default_factory=dict)
    refused: set[tuple[int, int]] = field(default_factory=set)
    datasets: dict[str, tuple[int, str]] = field(default_factory=dict)
    steps: list[tuple[str, str, str]] = field(default_factory=list)
    models: dict[str, bytes] = field(default_factory=dict)

    def hear(self, tell: "Tell") -> None:
        tell(self)

    def published(self, found: dict[str, tuple[int, str]]) -> None:
        """Datasets may be added, and nothing else."""
        assert found.items() >= self.datasets.items()
        self.datasets.update(found)

    def trained(self, training_id: str, manifest: bytes) -> None:
        """A training that was told to have ended has ended so for ever."""
        assert self.models.setdefault(training_id, manifest) == manifest

    def started_at(self, positions: Mapping[int, int]) -> None:
        """What was shown as taken in is not read again."""
        for partition, position in self.positions.items():
            assert positions[partition] >= position


Tell = Callable[[Said], Any]
Say = Callable[[Tell], None]


class Outbox:
    """Stands for Kafka, and is acknowledged at once."""

    def __init__(self, root: Path, say: Say) -> None:
        self._root = root
        self._say = say
        self._waiting: set[tuple[int, int]] = set()

    def refuse(
        self,
        key: bytes | None,
        value: bytes | None,
        original: Iterable[Header],
        origin: Origin,
        error: InvalidRecord,
    ) -> None:
        self._waiting.add((origin.partition, origin.offset))

    def deliver(self) -> None:
        waiting = set(self._waiting)
        self._say(lambda said: said.refused.update(waiting))

    def step(
        self, training_id: str, step: TrainingStepName, dataset: DatasetManifest, detail: str | None
    ) -> None:
        self._say(lambda said: said.steps.append((training_id, step, dataset.sha256)))
        if step == "succeeded":
            path = self._root / "models" / training_id / "manifest.json"
            content = path.read_bytes()
            self._say(lambda said: said.trained(training_id, content))


class Consumer(FileConsumer):
    def __init__(self, records: Path, stop: threading.Event, say: Say) -> None:
        super().__init__(records, stop)
        self._say = say

    def show_position(self, positions: Mapping[int, int]) -> None:
        super().show_position(positions)
        shown = dict(positions)
        self._say(lambda said: said.positions.update(shown))


class ScriptInProcess(ProcessLauncher):
    """The process launcher with a script that ends before `start` does."""

    def prepare(self, plan: Plan, progress: Progress) -> str:
        return "python"

    def start(self, plan: Plan) -> None:
        if (plan.folder / supervise.EXIT_CODE).exists():
            return
        (plan.folder / "training.log").write_text("trained\n")
        (plan.folder / "metrics.jsonl").write_text('{"step":1,"loss":0.5}\n')
        (plan.folder / "adapter").mkdir(exist_ok=True)
        (plan.folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights" * 10)
        write_result(plan.folder, {"last_loss": 0.5})
        supervise.write_exit_code(plan.folder, 0)


class InlineTrainings(Trainings):
    """Trains where it is asked to, not in a thread of its own."""

    def __init__(self, data: DataDir, *args: Any, say: Say, once: bool) -> None:
        super().__init__(data, *args, once=once)
        self._say = say

    def wake(self) -> None:
        """With `once` it trains at once; else, being busy, when the records have ended."""
        found = files_of_datasets(self._data.root)
        self._say(lambda said: said.published(found))
        if self._once:
            self.train_pending()


def write_world(folder: Path, records: Records) -> None:
    """The records and the base model, on another disk."""
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "config.json").write_text("{}")
    (folder / "records.jsonl").write_text(
        "".join(
            json.dumps({"partition": p, "offset": o, "value": base64.b64encode(v).decode()}) + "\n"
            for p, o, v in records
        )
    )


def start_trainer(disk: Path, world: Path, say: Say, *, once: bool) -> None:
    """Until the records end; with `once`, until a cut has looked at all and all is trained."""
    data = DataDir(disk / DATA)
    settings = TrainerSettings(
        data_dir=data.root,
        trigger_pairs=1 if once else TRIGGER_PAIRS,
        segment_pairs=SEGMENT_PAIRS,
        segment_seconds=3600.0,
        launcher="process",
        base_model=str(world / "base"),
        max_garbled_share=MAX_GARBLED_SHARE,
    )
    stop = threading.Event()
    consumer = Consumer(world / "records.jsonl", stop, say)
    source = Source("cluster", TOPIC, "topic-id", PARTITIONS)
    known = remember_starts(data, open_source(data, source), consumer.earliest)
    say(lambda said: said.directory_ids.add(known.id))
    with contextlib.closing(Intake(data, settings, source, known.starts or {})) as intake:
        positions = intake.positions
        say(lambda said: said.started_at(positions))
        consumer.start(positions)
        outbox = Outbox(data.root, say)
        trainings = InlineTrainings(data, settings, known.id, outbox, say=say, once=once)
        trainings.wake()
        ends = threading.Event() if once else stop
        serve(
            settings, consumer, intake, outbox, trainings,
            once=once, stop=ends, vitals=TrainerVitals(settings),
            traces=TrainerTraces(),
        )  # fmt: skip
        trainings.train_pending()


def files_of_datasets(root: Path) -> dict[str, tuple[int, str]]:
    return {str(Path(path).relative_to(root)): told for path, told in snapshot(root).items()}


def assert_recovered(disk: Path, said: Said, records: Records) -> None:
    """Of what was said nothing is gone or different, and nothing is left to do."""
    root = disk / DATA
    ends = {p: 1 + max(offset for q, offset, _ in records if q == p) for p in range(PARTITIONS)}
    assert_sound(root, ends=ends)
    waiting = {each["pair_id"] for each in left_out(datasets(root)[-1])}
    assert sorted(all_lines(root)) == sorted(
        line(pair) for pair in PAIRS if pair.pair_id not in waiting
    )
    assert files_of_datasets(root) == said.datasets
    assert said.refused == REFUSED
    assert len(said.directory_ids) == 1
    names = sorted({path.split("/")[1] for path in said.datasets})
    for name in names:
        assert_trained(root, f"dpo-{name}", said)
    assert read_latest(root / "models") == f"dpo-{names[-1]}"
    promoted = [(each.training_id, each.before) for each in read_history(root / "models")]
    trainings = [f"dpo-{name}" for name in names]
    assert promoted == list(zip(trainings, [None, *trainings[:-1]], strict=True))
    assert list((root / "models").glob(".*")) == []


def assert_trained(root: Path, training_id: str, said: Said) -> None:
    folder = root / "models" / training_id
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert said.models[training_id] == (folder / "manifest.json").read_bytes()
    steps = [step for step in said.steps if step[0] == training_id]
    assert {step for _, step, _ in steps} == set(whole_life())
    both = manifest["dataset_sha256"]["train.jsonl"] + manifest["dataset_sha256"]["eval.jsonl"]
    assert {sha256 for _, _, sha256 in steps} == {hashlib.sha256(both.encode()).hexdigest()}
    assert manifest["exit_code"] == 0
    for path, digest in manifest["files"].items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest, path
    packed = root / "models" / f"{training_id}.tar.gz"
    told = (root / "models" / f"{training_id}.tar.gz.sha256").read_text()
    assert told == f"{hashlib.sha256(packed.read_bytes()).hexdigest()}  {packed.name}\n"
    with tarfile.open(packed) as tar:
        for path, digest in manifest["files"].items():
            member = tar.extractfile(f"{training_id}/{path}")
            assert member is not None
            assert hashlib.sha256(member.read()).hexdigest() == digest, path
    assert not (folder / ".started.json").exists()
