"""A worker whose garbled sides come from an endpoint that hangs and fails."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.rows import Pair, encode, parse_garble_request, parse_pair
from schemas.topics import GARBLE_REQUESTS, PAIRS
from streams.garbling import corrupt, garbled_pair
from streams.high_temperature import distance
from tests.conftest import Pairstream
from tests.kafka.services import TAKEN_OVER, Deployment, Record, records
from tests.kafka.test_worker import await_settled
from tests.streams.histories import attempted, finished, ok, proposed, started
from tests.streams.misbehaving import (
    Behaviour,
    Desk,
    Handler,
    Json,
    fails,
    hangs,
    says,
    sends,
    serving,
    stops_half_way,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.kafka

KEY = "sk-s3cret-of-ours"
TEXT = "Sweep a quilted lantern, or shout at small barns twice. " * 8
CODE = "import shutil\nshutil.rmtree('/var/cache/packages')\nprint('done')"

# Nobody dies here, and what loads a model leaves a worker little time for a while.
ON_A_BUSY_MACHINE = {"session_timeout_seconds": "60"}

# A stop that waited for a garbled side would be ended hard, with another exit code.
FOR_EVER = "3600"


def first_time_runs(first: int, count: int) -> list[Record]:
    """Each gives two pairs that wait for their garbled sides."""
    return records(
        event
        for number in range(first, first + count)
        for event in (
            started(f"run-{number}"),
            proposed(run_id=f"run-{number}", strategy="Empty the package cache, then look on."),
            attempted(1, f"{CODE}  # {number}", ok(2.5), run_id=f"run-{number}"),
            finished(f"run-{number}"),
        )
    )


def by_endpoint(desk: Desk, **settings: str) -> dict[str, str]:
    return {
        "garbler": "high_temperature",
        "garbler_url": desk.url,
        "garbler_model": "served",
        "garbler_api_key": KEY,
        **ON_A_BUSY_MACHINE,
        **settings,
    }


def pairs(deployment: Deployment) -> dict[str, Pair]:
    """The first of each id, as the trainer takes them."""
    found: dict[str, Pair] = {}
    for message in deployment.messages(deployment.names.topic(PAIRS)):
        pair = parse_pair(message.value())
        found.setdefault(pair.pair_id, pair)
    return found


def test_an_endpoint_that_hangs_holds_up_no_run_no_rebalance_and_no_stop(
    deployment: Deployment,
) -> None:
    deployment.send(first_time_runs(0, 20))
    with serving(hangs) as desk:
        settings = by_endpoint(desk, garbler_timeout_seconds=FOR_EVER)
        with deployment.running("worker", **settings) as first:
            await_settled(deployment, first, 20)
            first.wait_until(lambda: bool(desk.requests), "a request to the endpoint")
            deployment.send(first_time_runs(20, 20))
            await_settled(deployment, first, 40)
            with deployment.running("worker", **settings) as second:
                second.await_log(TAKEN_OVER)
                deployment.send(first_time_runs(40, 20))
                await_settled(deployment, second, 60)
                assert second.stop() == 0, second.log
            assert first.stop() == 0, first.log
    assert deployment.rows(PAIRS) == []

    with serving(says(TEXT)) as desk:
        settings = by_endpoint(desk, garbler_concurrency="16")
        with deployment.running("worker", **settings) as third:
            third.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
            assert third.stop() == 0, third.log

    asked = deployment.messages(deployment.names.topic(GARBLE_REQUESTS))
    ids = {parse_garble_request(message.value()).pair.pair_id for message in asked}
    found = pairs(deployment)
    assert len(ids) == 120
    assert found.keys() == ids
    assert {pair.garbler for pair in found.values()} == {"high_temperature"}


def in_turn(*behaviours: Behaviour) -> Behaviour:
    turns = itertools.cycle(behaviours)

    def behave(handler: Handler, body: Json) -> None:
        next(turns)(handler, body)

    return behave


def test_a_failing_endpoint_costs_texts_and_no_pair(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    deployment.send(first_time_runs(0, 30))
    failing = in_turn(
        says(TEXT), fails(500), sends(b"<html>"), says(TEXT + "\x00"), stops_half_way, says(TEXT)
    )
    with serving(failing) as desk:
        settings = by_endpoint(desk, garbler_retries="0", log_level="DEBUG")
        with deployment.running("worker", **settings) as worker:
            await_settled(deployment, worker, 30)
            worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
            assert worker.stop() == 0, worker.log
        replayed = pairstream(
            "replay", "--from", "events", "--out", "events", env=_environment(deployment, settings)
        )

    assert KEY not in worker.log
    assert "shutil" not in "".join(
        line for line in worker.log.splitlines() if '"level": "debug"' not in line
    )
    assert "corrupt_stands_in" in worker.log
    _check_pairs(deployment)
    assert "only `replay --from pairs` gives the bytes" in replayed.stderr
    assert "60 pairs of 30 runs" in replayed.stdout
    _check_the_rest_copes(deployment, pairstream)


def _environment(deployment: Deployment, settings: dict[str, str]) -> dict[str, str]:
    named = {f"PAIRSTREAM_{name.upper()}": value for name, value in settings.items()}
    return {**deployment.environment, **named}


def _check_pairs(deployment: Deployment) -> None:
    """Sampled ones with their distance, and corrupt ones to the byte."""
    found = pairs(deployment)
    requests = [
        parse_garble_request(message.value())
        for message in deployment.messages(deployment.names.topic(GARBLE_REQUESTS))
    ]
    assert found.keys() == {request.pair.pair_id for request in requests}
    for request in requests:
        pair = found[request.pair.pair_id]
        if pair.garbler == "corrupt":
            assert encode(pair) == encode(garbled_pair(request, corrupt))
        else:
            chosen, rejected = pair.chosen[0].content, pair.rejected[0].content
            assert rejected == TEXT[: len(chosen)].rstrip()
            assert pair.garbled_distance == distance(chosen, rejected)
    garblers = Counter(pair.garbler for pair in found.values())
    assert garblers.keys() == {"corrupt", "high_temperature"}


def _check_the_rest_copes(deployment: Deployment, pairstream: Pairstream) -> None:
    """`verify`, `explain`, the trainer and `replay` with rows of both kinds."""
    cut = {"PAIRSTREAM_LAUNCHER": "none", "PAIRSTREAM_TRIGGER_PAIRS": "60"}
    pairstream("trainer", "--once", env={**deployment.environment, **cut})
    verified = pairstream("verify", "--json", env=deployment.environment, check=False)
    report: dict[str, Any] = orjson.loads(verified.stdout)
    assert [check for check in report["checks"] if check["findings"]] == []
    assert verified.returncode == 0

    by_id = {pair.pair_id: pair for pair in pairs(deployment).values()}
    story = orjson.loads(
        pairstream("explain", "run-7", "--json", env=deployment.environment).stdout
    )
    for told in story["pairs"]:
        pair = by_id[told["pair_id"]]
        distance_of = pair.garbled_distance if pair.garbler == "high_temperature" else None
        assert (told["garbler"], told["garbled_distance"]) == (pair.garbler, distance_of)

    lines = deployment.pairs_in_datasets()
    assert sorted(line["pair_id"] for line in lines) == sorted(by_id)
    for line in lines:
        assert ("garbled_distance" in line) == (line["garbler"] == "high_temperature")
    dataset = deployment.folder / "data" / "datasets" / "ds-000001"
    pairstream("replay", "--from", "pairs", "--out", "pairs", env=deployment.environment)
    for name in ("train.jsonl", "eval.jsonl"):
        again = (deployment.folder / "pairs" / name).read_bytes()
        assert again == (dataset / name).read_bytes()


@pytest.mark.training
def test_a_local_model_garbles_for_a_worker_and_ends_with_it(
    deployment: Deployment, tiny_model: Path
) -> None:
    deployment.send(first_time_runs(0, 3))
    settings = {
        "garbler": "high_temperature",
        "garbler_model": str(tiny_model),
        "garbler_timeout_seconds": "600",
        **ON_A_BUSY_MACHINE,
    }
    with deployment.running("worker", **settings) as worker:
        worker.wait_until(lambda: len(pairs(deployment)) == 6, "six pairs")
        loaded = next(line for line in worker.log.splitlines() if "garbler_model_loaded" in line)
        child = Path(f"/proc/{orjson.loads(loaded)['pid']}")
        assert child.exists()
        assert worker.stop() == 0, worker.log

    assert {pair.garbler for pair in pairs(deployment).values()} == {"high_temperature"}
    wait_for(lambda: not child.exists())


@pytest.mark.parametrize(
    "command", [["worker"], ["replay", "--from", "events", "--out", "again"]], ids=lambda c: c[0]
)
def test_a_garbler_without_a_model_ends_the_command_with_what_to_do(
    deployment: Deployment, pairstream: Pairstream, command: list[str]
) -> None:
    env = {**deployment.environment, "PAIRSTREAM_GARBLER": "high_temperature"}
    done = pairstream(*command, env=env, check=False)

    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "garbler high_temperature needs a model: set PAIRSTREAM_GARBLER_MODEL" in line
