from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from agent_loop import MOST_ATTEMPTS, Agent
from disk_tasks import make_task
from fenced_run import ORDINARY_LIMITS, Limits
from program_pool import Pool
from program_writer import Attempt, Message

from pairstream_client import Publisher
from pairstream_client.events import Event
from schemas.topics import GARBLE_REQUESTS, PAIRS
from streams.partition import Effects, Partition

pytestmark = pytest.mark.long

BEST = "import shutil\nshutil.rmtree('tmp/convert')\n"
HARMFUL = "import shutil\nshutil.rmtree('home')\n"
MOST_PROMPT_CHARACTERS = 1400


class Captured(Publisher):
    """Keeps the events as the records that Kafka would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[bytes | None, bytes | None, int]] = []

    def send(self, event: Event) -> None:
        self.records.append((event.key, event.value, len(self.records)))

    def drop(self, reason: str) -> None:
        raise AssertionError(f"an event was refused: {reason}")

    @property
    def events(self) -> list[dict[str, object]]:
        return [orjson.loads(value or b"") for _, value, _ in self.records]

    @property
    def types(self) -> list[object]:
        return [event["type"] for event in self.events]


@dataclass
class Scripted:
    """Writes the same programs in every run, and keeps what it was told."""

    programs: Sequence[str]
    policy_id: str = "scripted"
    told: list[list[Attempt]] = field(default_factory=list)
    prompts: list[Sequence[Message]] = field(default_factory=list)

    def for_run(self, number: int) -> "Scripted":
        return self

    def propose(self, prompt: Sequence[Message]) -> str:
        self.prompts.append(prompt)
        return f"Plan {len(self.prompts)}"

    def program(self, strategy: str, failed: Sequence[Attempt]) -> str:
        self.told.append(list(failed))
        return self.programs[len(failed)]


def agent_of(writers: Scripted | Pool, publisher: Publisher, **options: object) -> Agent:
    return Agent(writers, seed=0, publisher=publisher, **options)  # type: ignore[arg-type]


def pool_runs(seed: int, runs: int) -> Captured:
    captured = Captured()
    agent = Agent(Pool(seed), seed=seed, publisher=captured)
    for number in range(runs):
        agent.work(number)
    return captured


@pytest.fixture(scope="module", params=[0, 7], ids=["seed 0", "seed 7"])
def dozen(request: pytest.FixtureRequest) -> Captured:
    return pool_runs(request.param, 12)


@pytest.fixture
def settled(dozen: Captured) -> Effects:
    return Partition(extended=False).apply(dozen.records, now_ms=0)


def rules(effects: Effects) -> Counter[str]:
    rows = [orjson.loads(value) for topic, _, value in effects.rows if topic is PAIRS]
    waiting = [
        orjson.loads(value)["pair"] for topic, _, value in effects.rows if topic is GARBLE_REQUESTS
    ]
    return Counter(row["rule"] for row in rows + waiting)


def test_a_dozen_runs_give_pairs_of_every_rule_and_runs_without(settled: Effects) -> None:
    outcomes = Counter(s.outcome.reason or "paired" for s in settled.settlements)

    assert settled.refused == []
    assert settled.skipped == 0
    assert outcomes["no_runnable_code"] >= 1
    assert outcomes["never_succeeded"] >= 1
    assert outcomes["paired"] >= 6
    assert outcomes.total() == 12
    counted = rules(settled)
    assert min(counted[r] for r in ("first_time_strategy", "first_time_code", "mixed_code")) >= 4
    assert all(s.outcome.void == 0 for s in settled.settlements)


def test_prompts_and_strategies_are_short_enough_to_learn_from(dozen: Captured) -> None:
    for event in dozen.events:
        if event["type"] == "run.started":
            prompts = event["prompts"]
            assert isinstance(prompts, dict)
            full = "".join(m["content"] for part in prompts.values() for m in part)
            assert len(full) < MOST_PROMPT_CHARACTERS
            assert "(nothing" not in full


def comparable(captured: Captured) -> list[dict[str, object]]:
    fleeting = ("run_id", "time", "event_id")
    return [
        {name: value for name, value in event.items() if name not in fleeting}
        for event in captured.events
    ]


def test_the_same_seed_does_the_same() -> None:
    first, second, other = pool_runs(0, 4), pool_runs(0, 4), pool_runs(1, 4)

    assert comparable(first) == comparable(second)
    assert comparable(first) != comparable(other)
    assert {key for key, _, _ in first.records}.isdisjoint({key for key, _, _ in second.records})


def test_a_failure_is_told_to_the_next_attempt_until_one_succeeds() -> None:
    writer = Scripted(["for x in y", HARMFUL, BEST])
    report = agent_of(writer, Captured()).work(0)

    assert [[attempt.code for attempt in told] for told in writer.told[:3]] == [
        [],
        ["for x in y"],
        ["for x in y", HARMFUL],
    ]
    errors = [attempt.error or "" for attempt in writer.told[2]]
    assert "SyntaxError" in errors[0]
    assert "must stay as it is" in errors[1]
    assert report.attempts == 3 * report.strategies
    assert report.best_score > 0


def test_a_strategy_that_never_works_is_given_up() -> None:
    captured = Captured()
    report = agent_of(Scripted(["1 / 0"] * MOST_ATTEMPTS), captured).work(0)

    assert report.attempts == MOST_ATTEMPTS * report.strategies
    assert report.best_score == 0
    assert captured.types[-1] == "run.finished"


def test_void_attempts_teach_nothing_and_are_reported_as_such() -> None:
    captured = Captured()
    writer = Scripted([BEST])
    agent_of(writer, captured, limits=Limits(memory_bytes=2**20)).work(0)

    attempts = [event for event in captured.events if event["type"] == "code.attempted"]
    assert attempts
    assert {event["fault"] for event in attempts} == {"infrastructure"}
    assert all(told == [] for told in writer.told)
    settled = Partition(extended=False).apply(captured.records, now_ms=0)
    assert [s.outcome.reason for s in settled.settlements] == ["void"]


def test_the_prompt_shows_what_looking_around_has_found() -> None:
    captured = Captured()
    writer = Scripted([BEST])
    report = agent_of(writer, captured).work(0)

    started = captured.events[0]
    getters, prompts = started["new_sp_egc_s"], started["prompts"]
    assert isinstance(getters, list)
    assert isinstance(prompts, dict)
    assert len(getters) == 2
    seen = prompts["special_egc_req_plist"][0]["content"]
    task = make_task(int(report.task_id.rpartition("-")[2]))
    shown = [file.path for file in task.files if file.path in seen]
    folders = [file.path.rpartition("/")[0] for file in task.files]
    assert shown or any(folder in seen for folder in folders)
    full = [message for part in prompts.values() for message in part]
    assert writer.prompts == [full] * report.strategies


@dataclass
class Asked:
    """Says yes from the given question on."""

    answers: Iterator[bool]

    def __call__(self) -> bool:
        return next(self.answers)


@pytest.mark.parametrize(
    ("questions_before", "types"),
    [
        (0, ["run.started", "run.finished"]),
        (1, ["run.started", "strategy.proposed", "code.attempted", "run.finished"]),
    ],
)
def test_an_agent_asked_to_stop_finishes_attempt_and_run(
    questions_before: int, types: list[str]
) -> None:
    def answers() -> Iterator[bool]:
        yield from [False] * questions_before
        while True:
            yield True

    captured = Captured()
    is_stopping: Callable[[], bool] = Asked(answers())
    agent_of(Scripted(["1 / 0"] * 3), captured, is_stopping=is_stopping).work(0)

    assert captured.types == types


def test_a_report_says_what_the_run_came_to() -> None:
    captured = Captured()
    report = agent_of(Pool(0), captured, limits=ORDINARY_LIMITS).work(0)

    assert report.strategies == captured.types.count("strategy.proposed")
    assert report.attempts == captured.types.count("code.attempted")
    assert {event["run_id"] for event in captured.events} == {report.run_id}
    started = captured.events[0]
    assert (started["agent_id"], started["task_id"], started["policy_id"]) == (
        "free-space-agent",
        report.task_id,
        "pool",
    )
