"""Every topic: its name, key, value, how long it is kept. Contract, section 2."""

from dataclasses import dataclass, field

import msgspec

from schemas.events import (
    CodeAttempted,
    RunExpired,
    RunFinished,
    RunStarted,
    ScoreAssigned,
    StrategyProposed,
)
from schemas.rows import GarbleRequest, Outcome, Pair, ScoredRow, TrainingStep

DAY_MS = 24 * 60 * 60 * 1000
FOR_EVER = -1

# The client library's bound: what a broker accepts by default, with room for key and headers.
MAX_EVENT_BYTES = 1_000_000

# A row joins several events' texts (a prompt and two codes), each up to a broker's default of
# 1 MiB, so everything that we write may be larger than what agents may send.
MAX_ROW_BYTES = 8 * 1024 * 1024

# A dead letter holds a whole record and, in its headers, where it came from and why it is there.
MAX_RECORD_BYTES = MAX_ROW_BYTES + 64 * 1024

DEAD_LETTER_SUFFIX = "-dlt"


@dataclass(frozen=True)
class Topic:
    """One topic, without the prefix that a deployment may put before its name."""

    name: str
    key: str
    about: str
    retention_ms: int
    values: tuple[type[msgspec.Struct], ...] = ()
    max_message_bytes: int | None = MAX_ROW_BYTES
    has_brokers_times: bool = False

    @property
    def config(self) -> dict[str, str]:
        """Broker settings by Kafka's names."""
        config = {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        if self.max_message_bytes is not None:
            config["max.message.bytes"] = str(self.max_message_bytes)
        if self.has_brokers_times:
            config["message.timestamp.type"] = "LogAppendTime"
        return config


RUN_EVENTS = Topic(
    "pairstream.run-events.v1",
    "run_id",
    "What agents report",
    14 * DAY_MS,
    (RunStarted, StrategyProposed, CodeAttempted, ScoreAssigned, RunFinished, RunExpired),
    max_message_bytes=None,
    # Agents' clocks may be off: brokers would refuse their events, or retention take them at once.
    has_brokers_times=True,
)
PAIRS = Topic("pairstream.pairs.v1", "run_id", "Preference pairs", FOR_EVER, (Pair,))
SCORED_ROWS = Topic(
    "pairstream.scored-rows.v1", "run_id", "Responses with scores", 30 * DAY_MS, (ScoredRow,)
)
RUN_OUTCOMES = Topic(
    "pairstream.run-outcomes.v1",
    "run_id",
    "How each run was settled, and why",
    30 * DAY_MS,
    (Outcome,),
)
GARBLE_REQUESTS = Topic(
    "pairstream.garble-requests.v1",
    "run_id",
    "Pairs that wait for their garbled side",
    7 * DAY_MS,
    (GarbleRequest,),
)
TRAININGS = Topic(
    "pairstream.trainings.v1", "training_id", "The life of trainings", FOR_EVER, (TrainingStep,)
)

# Topics that somebody consumes with validation, and that can therefore have dead letters.
CONSUMED = (RUN_EVENTS, GARBLE_REQUESTS, PAIRS)


def dead_letters_of(topic: Topic) -> Topic:
    """Where records of `topic` go that can never be processed, bytes as they came."""
    return Topic(
        topic.name + DEAD_LETTER_SUFFIX,
        "as it came",
        f"Dead letters of {topic.name}",
        30 * DAY_MS,
        max_message_bytes=MAX_RECORD_BYTES,
    )


TOPICS: tuple[Topic, ...] = (
    RUN_EVENTS,
    PAIRS,
    SCORED_ROWS,
    RUN_OUTCOMES,
    GARBLE_REQUESTS,
    TRAININGS,
    *(dead_letters_of(topic) for topic in CONSUMED),
)

WORKER_APP = "pairstream-worker"
STATE_TABLE = "runs"


@dataclass(frozen=True)
class Names:
    """The names of one deployment: `prefix` stands before every topic, group and application."""

    prefix: str = field(default="")

    def topic(self, topic: Topic) -> str:
        return self.prefix + topic.name

    def dead_letters(self, topic: Topic) -> str:
        return self.prefix + topic.name + DEAD_LETTER_SUFFIX

    @property
    def worker_app(self) -> str:
        """Faust's application id, which is the workers' consumer group too."""
        return self.prefix + WORKER_APP

    @property
    def trainer_group(self) -> str:
        """The trainer commits here for lag displays; its files are its true position."""
        return self.prefix + "pairstream-trainer"

    @property
    def reader_group(self) -> str:
        """A name for those who only read; it has no members and commits nothing."""
        return self.trainer_group + "-reader"

    @property
    def bridge_group(self) -> str:
        """The bridge commits here how far it has come; it has no members either."""
        return self.prefix + "pairstream-bridge"

    @property
    def spans(self) -> str:
        """Where the bridge keeps the spans that it is sent; it makes the topic itself."""
        return self.prefix + "pairstream.otlp-spans"

    @property
    def state_changelog(self) -> str:
        """Faust's name for the changelog of the worker's table."""
        return f"{self.worker_app}-{STATE_TABLE}-changelog"


STATE_CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(MAX_ROW_BYTES),
}
