"""What a recorder makes of an agent's calls, whatever they are."""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from client_support import PROMPTS, KeepingPublisher

from pairstream_client import RunRecorder, process_publisher
from schemas.events import CodeAttempted, RunFinished, RunStarted, StrategyProposed

SECRET = "an agent's own text"


def _types(publisher: KeepingPublisher) -> list[str]:
    return [json.loads(event.value)["type"] for event in publisher.sent]


def _attempts(publisher: KeepingPublisher) -> list[CodeAttempted]:
    return [event for event in publisher.events if isinstance(event, CodeAttempted)]


def test_a_block_records_a_run_from_start_to_finish(keeping: KeepingPublisher) -> None:
    with RunRecorder(PROMPTS, agent_id="cleaner-7", publisher=keeping) as run:
        strategy = run.propose("Empty the package cache.")
        strategy.attempt("remove('cache'", compiled=False, ran=False, error="SyntaxError")
        strategy.attempt("remove('cache')", compiled=True, ran=True, score=12.5)
        run.propose("Remove old logs.", prompts=PROMPTS, new_sp_egc_s=["print()"])

    started, first, failed, succeeded, second, finished = keeping.events
    assert isinstance(started, RunStarted)
    assert isinstance(first, StrategyProposed)
    assert isinstance(failed, CodeAttempted)
    assert isinstance(succeeded, CodeAttempted)
    assert isinstance(second, StrategyProposed)
    assert isinstance(finished, RunFinished)
    assert {event.run_id for event in keeping.events} == {run.run_id}
    assert len({event.event_id for event in keeping.events}) == 6
    assert (first.strategy_id, second.strategy_id) == ("s-1", "s-2")
    assert second.prompts == started.prompts
    assert second.new_sp_egc_s == ["print()"]
    assert (failed.attempt, failed.score, failed.error) == (1, 0.0, "SyntaxError")
    assert (succeeded.attempt, succeeded.is_success) == (2, True)


def test_every_event_carries_its_cloud_event_in_headers(keeping: KeepingPublisher) -> None:
    with RunRecorder(PROMPTS, agent_id="cleaner-7", publisher=keeping) as run:
        run.propose("...").attempt("print()", compiled=True, ran=True)

    for event in keeping.sent:
        value = json.loads(event.value)
        assert event.key == run.run_id.encode()
        assert dict(event.headers) == {
            "ce_specversion": b"1.0",
            "ce_type": value["type"].encode(),
            "ce_id": value["event_id"].encode(),
            "ce_time": value["time"].encode(),
            "ce_source": b"cleaner-7",
            "content-type": b"application/json",
        }


@pytest.mark.parametrize("agent_id", [None, "", 7])
def test_the_client_is_the_source_where_no_agent_is_named(
    agent_id: Any, keeping: KeepingPublisher
) -> None:
    RunRecorder(PROMPTS, agent_id=agent_id, publisher=keeping).finish()

    assert dict(keeping.sent[-1].headers)["ce_source"] == b"pairstream-client"


def test_runs_get_ids_of_their_own(keeping: KeepingPublisher) -> None:
    runs = [RunRecorder(PROMPTS, publisher=keeping) for _ in range(3)]

    assert len({run.run_id for run in runs}) == 3
    assert all(len(run.run_id) == 32 for run in runs)


def test_recorders_share_the_publisher_of_the_process() -> None:
    runs = [RunRecorder(run_id="", prompts=PROMPTS) for _ in range(2)]

    assert {run.publisher for run in runs} == {process_publisher()}


def test_an_exception_in_the_block_finishes_the_run_and_passes_on(
    keeping: KeepingPublisher,
) -> None:
    def work() -> None:
        with RunRecorder(PROMPTS, publisher=keeping) as run:
            run.propose("Fail.")
            raise LookupError

    with pytest.raises(LookupError):
        work()

    assert _types(keeping) == ["run.started", "strategy.proposed", "run.finished"]


def test_finishing_again_sends_nothing(keeping: KeepingPublisher) -> None:
    with RunRecorder(PROMPTS, publisher=keeping) as run:
        run.finish()
        run.finish()

    assert _types(keeping) == ["run.started", "run.finished"]
    assert keeping.stats.dropped == 0


def test_what_is_recorded_after_the_finish_is_dropped(keeping: KeepingPublisher) -> None:
    with RunRecorder(PROMPTS, publisher=keeping) as run:
        strategy = run.propose("...")
    strategy.attempt("print()", compiled=True, ran=True)
    run.propose("Too late.")

    assert _types(keeping)[-1] == "run.finished"
    assert keeping.stats.dropped == 2


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ([None, None, None], [1, 2, 3]),
        ([5, None], [5, 6]),
        ([5, 2, None], [5, 2, 6]),
        ([1, 1, None], [1, 2]),
        (["x", 0, -1, 2**53, 1.0, True, None], [1]),
        ([2**53 - 1, None], [2**53 - 1]),
        ([np.int64(3), None], [3, 4]),
    ],
)
def test_attempts_are_numbered_on_from_the_highest(
    given: list[Any], counted: list[int], keeping: KeepingPublisher
) -> None:
    strategy = RunRecorder(PROMPTS, publisher=keeping).propose("...")

    for number in given:
        strategy.attempt("print()", compiled=True, ran=True, attempt=number)

    assert [event.attempt for event in _attempts(keeping)] == counted
    assert keeping.stats.dropped == len(given) - len(counted)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([None, None], ["s-1", "s-2"]),
        (["s-2", None, None], ["s-2", "s-1", "s-3"]),
        (["plan", "plan", None], ["plan", "s-1"]),
        ([7, None], ["s-1"]),
    ],
)
def test_strategies_are_named_once(
    given: list[Any], named: list[str], keeping: KeepingPublisher
) -> None:
    run = RunRecorder(PROMPTS, publisher=keeping)

    for number, strategy_id in enumerate(given):
        run.propose(f"Plan {number}.", strategy_id=strategy_id)

    sent = [event for event in keeping.events if isinstance(event, StrategyProposed)]
    assert [event.strategy_id for event in sent] == named
    assert keeping.stats.dropped == len(given) - len(named)


def test_a_dropped_strategy_lends_its_id_to_no_other(keeping: KeepingPublisher) -> None:
    run = RunRecorder(PROMPTS, publisher=keeping)

    dropped = run.propose("\ud800")
    dropped.attempt("print(1)", compiled=True, ran=True)
    run.propose("Another plan.").attempt("print(2)", compiled=True, ran=True)

    assert [(a.strategy_id, a.code) for a in _attempts(keeping)] == [
        ("s-1", "print(1)"),
        ("s-2", "print(2)"),
    ]


def test_the_same_id_again_goes_on_with_its_strategy(keeping: KeepingPublisher) -> None:
    run = RunRecorder(PROMPTS, publisher=keeping)

    for code in ("print(1)", "print(2)"):
        run.propose("The plan.", strategy_id="plan").attempt(code, compiled=True, ran=True)

    assert [(a.strategy_id, a.attempt) for a in _attempts(keeping)] == [("plan", 1), ("plan", 2)]


@pytest.mark.parametrize("score", [np.float32(2.5), np.float64(2.5), 2.5])
def test_numbers_of_numpy_are_scores(score: Any, keeping: KeepingPublisher) -> None:
    strategy = RunRecorder(PROMPTS, publisher=keeping).propose("...")

    strategy.attempt("print()", compiled=True, ran=True, score=score)

    assert [event.score for event in _attempts(keeping)] == [2.5]


class HostilePrompts(Mapping[str, Any]):
    """Raises wherever it is touched."""

    def __repr__(self) -> str:
        return "HostilePrompts()"  # the same name of a test in every process

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        raise RuntimeError(SECRET)


GOOD_ATTEMPT: dict[str, Any] = {"code": "print()", "compiled": True, "ran": True, "score": 1.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": [SECRET]},
        {"code": SECRET + "\udc80"},
        {"compiled": SECRET},
        {"ran": None},
        {"ran": False},
        {"compiled": False},
        {"compiled": False, "score": 0.0},
        {"score": SECRET},
        {"score": True},
        {"score": float("nan")},
        {"score": float("inf")},
        {"score": 10**400},
        {"score": -1},
        {"error": [SECRET]},
        {"fault": SECRET},
        {"attempt": SECRET},
    ],
    ids=repr,
)
def test_a_wrong_attempt_is_dropped_and_said_without_its_text(
    wrong: dict[str, Any], keeping: KeepingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    strategy = RunRecorder(PROMPTS, publisher=keeping).propose("...")

    with caplog.at_level(logging.DEBUG):
        strategy.attempt(**(GOOD_ATTEMPT | wrong))
        strategy.attempt(**(GOOD_ATTEMPT | wrong))

    assert _attempts(keeping) == []
    assert keeping.stats.dropped == 2
    assert [record.name for record in caplog.records] == ["pairstream_client"]
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": None},
        {"prompts": SECRET},
        {"prompts": {"system_plist": []}},
        {"prompts": dict(PROMPTS) | {"system_plist": SECRET}},
        {"prompts": dict(PROMPTS) | {"system_plist": [SECRET]}},
        {"prompts": dict(PROMPTS) | {"system_plist": [{"role": "system", "content": None}]}},
        {"prompts": HostilePrompts()},
        {"agent_id": 7},
        {"task_id": [SECRET]},
        {"policy_id": b"base"},
        {"new_sp_egc_s": SECRET},
        {"new_sp_egc_s": [7]},
        {"run_id": ""},
        {"run_id": SECRET * 20},
        {"run_id": 7},
    ],
    ids=repr,
)
def test_a_wrong_start_is_dropped_and_said_without_its_text(
    wrong: dict[str, Any], keeping: KeepingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        RunRecorder(**({"prompts": PROMPTS} | wrong), publisher=keeping)

    assert keeping.sent == []
    assert keeping.stats.dropped == 1
    assert [record.name for record in caplog.records] == ["pairstream_client"]
    assert SECRET not in caplog.text


def test_threads_share_a_run(keeping: KeepingPublisher) -> None:
    threads, each = 8, 50
    run = RunRecorder(PROMPTS, publisher=keeping)
    shared = run.propose("Shared.")
    begin = threading.Barrier(threads)

    def work() -> None:
        begin.wait()
        for _ in range(each):
            shared.attempt("print()", compiled=True, ran=True)
            run.propose("Another.")

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    total = threads * each
    assert [event.attempt for event in _attempts(keeping)] == list(range(1, total + 1))
    proposed = {e.strategy_id for e in keeping.events if isinstance(e, StrategyProposed)}
    assert proposed == {f"s-{number}" for number in range(1, total + 2)}
    assert keeping.stats.dropped == 0
