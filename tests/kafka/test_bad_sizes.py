"""What producers may send: the largest record, one byte more, and what compression hides."""

import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from pairstream_client import Publisher, RunRecorder
from schemas import dead_letters
from schemas.clients import ClientConfig
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from tests.conftest import Pairstream
from tests.kafka.services import Deployment, Record
from tests.kafka.test_worker import await_settled, outcomes, runs
from tests.streams.histories import (
    CRASHED,
    attempted,
    finished,
    ok,
    prompts,
    proposed,
    started,
    to_bytes,
)

pytestmark = pytest.mark.kafka

UNCOMPRESSED: ClientConfig = {"compression.type": "none", "message.max.bytes": 4_000_000}

# What the topic of events takes as one batch by a broker's default, less the head of the batch and
# of its one record, with a key of one byte.
LARGEST = 1_048_588 - 61 - 12


def _unknown_event(size: int) -> Record:
    """Skipped by the worker, and as large as this."""
    return _sized({"type": "run.paused", "run_id": "r", "pad": ""}, "pad", size)


def _sized(event: dict[str, Any], field: str, size: int) -> Record:
    """An event whose value has this many bytes, by a longer text in a field."""
    missing = size - len(to_bytes(event))
    mark = str(event.get("attempt", ""))
    text = event[field] + mark + "x" * (missing - len(mark))
    value = to_bytes({**event, field: text})
    assert len(value) == size
    return event["run_id"].encode(), value


def _noise(size: int) -> str:
    """Text that lz4 makes no smaller than half."""
    return random.Random(0).randbytes(size // 2 + 1).hex()[:size]


def test_a_run_of_the_largest_records_is_settled_whole_although_its_worker_dies(
    deployment: Deployment,
) -> None:
    failing = attempted(1, "", CRASHED, run_id="r")
    working = attempted(2, "", ok(1), run_id="r")
    events: list[Record] = [
        (b"r", to_bytes(started("r"))),
        _sized(proposed(run_id="r"), "strategy", LARGEST),
        _sized(failing, "code", LARGEST),
        _sized(working, "code", LARGEST),
    ]
    deployment.send(events, properties=UNCOMPRESSED)
    with deployment.running("worker") as killed:
        killed.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        killed.kill()
    with deployment.running("worker") as worker:
        deployment.send([(b"r", to_bytes(finished("r")))])
        await_settled(deployment, worker, 1)

    strategy, failed, best = (
        orjson.loads(value or b"")[field]
        for (_, value), field in zip(events[1:], ("strategy", "code", "code"), strict=True)
    )
    [pair] = {row["pair_id"]: row for row in deployment.rows(PAIRS)}.values()
    texts = [pair[side][0]["content"] for side in ("prompt", "chosen", "rejected")]
    assert texts == [strategy, best, failed]
    assert {row["kind"] for row in deployment.rows(SCORED_ROWS)} == {
        "code_success", "strategy_success",
    }  # fmt: skip
    assert deployment.dead_letters(RUN_EVENTS) == []


def test_one_byte_more_is_refused_at_the_producer_and_nothing_else_suffers(
    deployment: Deployment,
) -> None:
    refused = deployment.offer(
        [_unknown_event(LARGEST), _unknown_event(LARGEST + 1), *runs(0, 1)],
        properties=UNCOMPRESSED | {"linger.ms": 0},
    )
    assert refused == ["MSG_SIZE_TOO_LARGE"]
    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 1)
    assert deployment.dead_letters(RUN_EVENTS) == []


@pytest.mark.parametrize("asked", ["the library", "the broker"])
def test_an_agent_learns_which_of_its_events_were_too_large(
    deployment: Deployment, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    publisher = Publisher(
        deployment.settings.bootstrap_servers,
        deployment.settings.topic_prefix,
        config=UNCOMPRESSED if asked == "the broker" else {},
    )
    with RunRecorder(prompts("run"), run_id="r", publisher=publisher) as recorder:
        strategy = recorder.propose("plan")
        strategy.attempt(_noise(1_100_000), compiled=True, ran=True, score=1.0)
        strategy.attempt("free()", compiled=True, ran=True, score=1.0)
    assert publisher.close(30) == 0

    stats = publisher.stats
    assert (stats.acknowledged, stats.failed + stats.dropped) == (4, 1)
    assert "too large" in caplog.text


@pytest.fixture
def file_with_a_large_line(deployment: Deployment, tmp_path: Path) -> Path:
    """Line 2 is larger than a record may be, whatever lz4 makes of it."""
    large = to_bytes({"type": "run.paused", "run_id": "r", "pad": _noise(2_000_000)})
    lines = [value or b"" for _, value in runs(0, 1)]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([lines[0], large, *lines[1:], b""]))
    return path


def test_ingest_sends_the_rest_and_fails_when_a_line_is_too_large(
    deployment: Deployment, pairstream: Pairstream, file_with_a_large_line: Path
) -> None:
    done = pairstream("ingest", file_with_a_large_line, env=deployment.environment, check=False)
    assert done.returncode == 1
    assert "too large" in done.stderr
    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 1)
    assert outcomes(deployment) == ["run-0"]


def test_ingest_names_the_line_that_is_too_large(
    deployment: Deployment, pairstream: Pairstream, file_with_a_large_line: Path
) -> None:
    done = pairstream("ingest", file_with_a_large_line, env=deployment.environment, check=False)
    assert f"{file_with_a_large_line}:2: " in done.stderr


# A broker measures compressed batches: what is behind one may be much longer than its limit.
LONG = "x" * 7_000_000
TOO_LONG = "x" * 12_000_000
GENEROUS: ClientConfig = {"message.max.bytes": 20_000_000}


def test_a_run_that_only_compression_made_small_enough_is_discarded_as_too_large(
    deployment: Deployment,
) -> None:
    large = [
        started("large"),
        proposed(run_id="large"),
        attempted(1, LONG + "1", CRASHED, run_id="large"),
        attempted(2, LONG + "2", ok(1), run_id="large"),
        finished("large"),
    ]
    deployment.send([*_records(large), *runs(0, 1)])
    _check_that_all_is_settled(deployment, {"large": "too_large", "run-0": None})


def test_a_run_whose_garbled_pair_would_be_larger_than_any_record_is_discarded(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    for name, size in (("large", 4_700_000), ("fits", 2_000_000)):
        attempt = attempted(1, "abc = 1 \n" * (size // 9), ok(1), run_id=name)
        run = [started(name), proposed(run_id=name), attempt, finished(name)]
        deployment.send(_records(run), properties=GENEROUS)
    _check_that_all_is_settled(deployment, {"large": "too_large", "fits": None})

    assert {row["run_id"] for row in deployment.rows(PAIRS)} == {"fits"}
    pairstream("verify", env=deployment.environment)


def test_an_event_larger_than_any_record_that_we_write_discards_its_run(
    deployment: Deployment,
) -> None:
    large = attempted(1, TOO_LONG, ok(1), run_id="large")
    deployment.send(_records([large]), properties=GENEROUS)
    deployment.send(runs(0, 1))
    _check_that_all_is_settled(deployment, {"large": "too_large", "run-0": None})


LARGE = TOO_LONG.encode()


@pytest.mark.parametrize(
    ("key", "value", "headers", "told"),
    [
        (b"r", LARGE, [], dead_letters.VALUE_CUT),
        (LARGE, b"{}", [], dead_letters.KEY_CUT),
        (b"r", None, [("more", LARGE)], dead_letters.HEADERS_CUT),
    ],
)
def test_a_bad_record_larger_than_any_that_we_write_ends_no_worker(
    deployment: Deployment,
    pairstream: Pairstream,
    key: bytes,
    value: bytes | None,
    headers: list[dead_letters.Header],
    told: str,
) -> None:
    deployment.send([(key, value)], properties=GENEROUS, headers=headers)
    deployment.send(runs(0, 1))
    _check_that_all_is_settled(deployment, {"run-0": None})
    [letter] = deployment.dead_letters(RUN_EVENTS)
    assert key.startswith(letter.key())
    assert (value or b"").startswith(letter.value() or b"")
    said = dead_letters.read(letter.headers(), told)
    assert said is not None
    assert told == dead_letters.HEADERS_CUT or sha256(LARGE).hexdigest() in said
    pairstream("verify", env=deployment.environment)


def _records(events: list[dict[str, Any]]) -> list[Record]:
    return [(event["run_id"].encode(), to_bytes(event)) for event in events]


def _check_that_all_is_settled(deployment: Deployment, reasons: dict[str, str | None]) -> None:
    with deployment.running("worker") as worker:
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    found = {row["run_id"]: row["reason"] for row in deployment.rows(RUN_OUTCOMES)}
    assert found == reasons
