"""`pairstream verify` names what a faulty worker lost, spoilt or made up, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pairstream.cluster import Cluster
from schemas.dead_letters import REASON, Origin, headers
from schemas.placement import partition_of
from schemas.rows import LATEST_STEPS, TrainingStepName, encode, pair_id, parse_pair
from schemas.topics import (
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    TRAININGS,
    Topic,
)
from streams.garbling import Garbled, complete
from streams.high_temperature import distance
from tests.commands.deployment import PARTITIONS, first_time_run, mixed_run, parsed_pairs
from tests.streams.asked import as_a_model_garbles
from tests.verify.healthy import Change, Damageable, Written, findings, live_through, tell_step


def test_a_healthy_deployment_is_found_so(deployment: Damageable) -> None:
    live_through(deployment)

    report = deployment.verify()

    assert findings(report) == {}
    checked = {check["check"]: (check["state"], check["checked"]) for check in report["checks"]}
    assert checked == {
        "acknowledged": ("not_checked", 0),
        "outcomes": ("holds", 7),
        "scored_rows": ("holds", 13),
        "garble_requests": ("holds", 4),
        "pairs": ("holds", 8),
        "once": ("holds", 8),
        "coverage": ("holds", checked["coverage"][1]),
        "positions": ("holds", 2 + 4 * PARTITIONS),
        "files": ("holds", 4 + 2 + checked["coverage"][1]),
        "dead_letters": ("holds", 3),
        "state": ("holds", 4),
        "order": ("holds", 7),
        "trainings": ("holds", 4 + 1 + 1),
        "rebuild": ("holds", 7),
        "progress": ("information", 0),
    }
    assert report["events"]["settled_runs"] == 7
    assert report["events"]["open_runs"] == 1


def test_rows_that_stand_in_their_topics_twice_are_no_fault(deployment: Damageable) -> None:
    topics = (RUN_OUTCOMES, SCORED_ROWS, GARBLE_REQUESTS)
    names = [deployment.names.topic(topic) for topic in topics]
    names += [deployment.names.dead_letters(RUN_EVENTS), deployment.names.state_changelog]
    deployment.changes = dict.fromkeys(names, lambda written: [written, written])
    deployment.say(*mixed_run("m-1"), *first_time_run("f-1"))
    deployment.send(deployment.names.topic(RUN_EVENTS), b"x", b"no event")
    deployment.settle()
    deployment.garble()

    assert findings(deployment.verify()) == {}


@dataclass
class Fault:
    """What a writer does to the first record that is `of` it."""

    topic: Topic
    of: Callable[[Written], bool]
    makes: Change
    hit: list[Written] = field(default_factory=list)

    def __call__(self, written: Written) -> list[Written]:
        if self.hit or not self.of(written):
            return [written]
        self.hit.append(written)
        return self.makes(written)


def _of_run(run_id: str) -> Callable[[Written], bool]:
    return lambda written: written.key == run_id.encode()


def _lost(_: Written) -> list[Written]:
    return []


def _said(**changes: object) -> Change:
    return lambda written: [written.saying(**changes)]


def _said_twice(**changes: object) -> Change:
    return lambda written: [written, written.saying(**changes)]


@pytest.mark.parametrize(
    ("topic", "run_id", "makes", "check", "id_name", "what"),
    [
        (RUN_OUTCOMES, "m-1", _lost, "outcomes", "run_id", "an outcome is missing"),
        (RUN_OUTCOMES, "m-1", _said(successes=7), "outcomes", "run_id", "is not what the events"),
        (RUN_OUTCOMES, "n-1", _said_twice(reason="void"), "outcomes", "run_id", "otherwise at"),
        (RUN_OUTCOMES, "n-1", _said_twice(run_id="z"), "outcomes", None, "that no event gives"),
        (RUN_OUTCOMES, "m-1", _said_twice(run_id=5), "outcomes", None, "no row"),
        (SCORED_ROWS, "n-1", _lost, "scored_rows", "row_id", "is missing"),
        (SCORED_ROWS, "m-2", _said(score=1.0), "scored_rows", "row_id", "is not what the events"),
        (SCORED_ROWS, "m-2", _said_twice(row_id="z"), "scored_rows", None, "that no event gives"),
        (GARBLE_REQUESTS, "f-1", _lost, "garble_requests", None, "is missing"),
        (PAIRS, "m-1", _lost, "pairs", "pair_id", "a pair is missing"),
        (PAIRS, "f-2", _lost, "pairs", "pair_id", "a pair is missing"),
        (PAIRS, "m-1", _said(chosen_score=1.0), "pairs", "pair_id", "is not what the events"),
        (PAIRS, "f-1", _said(rejected=[{"role": "assistant", "content": "z"}]), "pairs", "pair_id",
         "a garbled side that its garbler does not give"),
    ],
)  # fmt: skip
def test_a_fault_in_one_row_is_named_with_its_id(
    deployment: Damageable,
    topic: Topic,
    run_id: str,
    makes: Change,
    check: str,
    id_name: str | None,
    what: str,
) -> None:
    fault = Fault(topic, _of_run(run_id), makes)
    deployment.changes[deployment.names.topic(topic)] = fault
    live_through(deployment)

    found = findings(deployment.verify())

    assert list(found) == [check]
    [finding] = found[check]
    assert what in finding["what"]
    if id_name is not None:
        assert finding["id"] == fault.hit[0].row[id_name]
    if makes is not _lost:
        assert finding["at"].startswith(deployment.names.topic(topic) + "/")


def test_a_model_may_have_garbled_what_it_likes(deployment: Damageable) -> None:
    deployment.say(*mixed_run("m-1"), *first_time_run("f-1"), *first_time_run("f-2"))
    deployment.settle()
    deployment.garble(as_a_model_garbles)
    deployment.take_in()
    deployment.cut()
    # What was under way at a kill is garbled again, and may come out otherwise.
    topic = deployment.names.topic(PAIRS)
    pair = next(pair for pair in parsed_pairs(deployment) if pair.garbler is not None)
    good = pair.chosen[0].content
    other = Garbled(f"x{good[::-1]}", "high_temperature", distance(good, f"x{good[::-1]}"))
    deployment.send(topic, pair.run_id.encode(), encode(complete(pair, other)))

    report = deployment.verify()

    assert findings(report) == {}
    checked = {check["check"]: check["checked"] for check in report["checks"]}
    assert checked["pairs"] == 5


def _says_the_good_text(written: Written) -> list[Written]:
    return [written.saying(rejected=written.row["chosen"], garbled_distance=0.0)]


def _without_distance(written: Written) -> list[Written]:
    row = {name: value for name, value in written.row.items() if name != "garbled_distance"}
    return [written._replace(value=json.dumps(row).encode())]


@pytest.mark.parametrize(
    ("makes", "what"),
    [
        (_says_the_good_text, "a garbled side that its garbler does not give"),
        (_said(garbled_distance=0.1), "a garbled side that its garbler does not give"),
        (_without_distance, "a garbled side that its garbler does not give"),
        (_said(garbler="corrupt"), "a garbled side that its garbler does not give"),
        (_said(chosen_score=99.0), "is not what the events"),
        (_said(task_id="another"), "is not what the events"),
    ],
)
def test_all_else_of_a_models_pair_is_held_to_the_events(
    deployment: Damageable, makes: Change, what: str
) -> None:
    fault = Fault(PAIRS, lambda written: written.row["garbler"] is not None, makes)
    deployment.changes[deployment.names.topic(PAIRS)] = fault
    deployment.say(*first_time_run("f-1"))
    deployment.settle()
    deployment.garble(as_a_model_garbles)

    found = findings(deployment.verify())

    assert list(found) == ["pairs"]
    [finding] = found["pairs"]
    assert what in finding["what"]
    assert finding["id"] == fault.hit[0].row["pair_id"]


def test_a_distance_where_no_model_garbled_is_named(deployment: Damageable) -> None:
    deployment.changes[deployment.names.topic(PAIRS)] = _said(garbled_distance=0.5)
    deployment.say(*mixed_run("m-1"))
    deployment.settle()

    found = findings(deployment.verify())

    assert ["is not what the events" in finding["what"] for finding in found["pairs"]] == [True]


def test_a_pair_of_a_run_that_never_was_is_named(deployment: Damageable) -> None:
    live_through(deployment)
    pair = next(pair for pair in parsed_pairs(deployment) if pair.run_id == "m-1")
    row = json.loads(encode(pair))
    foreign = pair_id(
        "z-1", pair.strategy_id, pair.rule, pair.chosen_attempt, pair.rejected_attempt
    )
    value = json.dumps({**row, "run_id": "z-1", "pair_id": foreign}).encode()
    assert parse_pair(value).pair_id == foreign
    partition, offset = deployment.send(deployment.names.topic(PAIRS), b"z-1", value)

    found = findings(deployment.verify())

    at = f"{deployment.names.topic(PAIRS)}/{partition}/{offset}"
    what = "a pair that no event gives (run z-1)"
    assert found == {"pairs": [{"what": what, "id": foreign, "at": at}]}


def test_a_pair_that_comes_again_and_says_otherwise_is_named(deployment: Damageable) -> None:
    live_through(deployment)
    topic = deployment.names.topic(PAIRS)
    pair = next(m for m in deployment.records(topic) if m.key() == b"m-1")
    row = json.loads(pair.value())
    deployment.send(topic, b"m-1", json.dumps({**row, "task_id": "t"}).encode())

    found = findings(deployment.verify())

    other = f"{topic}/{pair.partition()}/{pair.offset()}"
    assert list(found) == ["pairs"]
    [finding] = found["pairs"]
    assert finding["what"] == f"a pair that stands otherwise at {other}"
    assert finding["id"] == row["pair_id"]


def test_a_row_of_a_run_that_is_still_open_is_named(deployment: Damageable) -> None:
    live_through(deployment)
    topic = deployment.names.topic(RUN_OUTCOMES)
    row = json.loads(deployment.records(topic)[0].value())
    deployment.send(topic, b"o-1", json.dumps({**row, "run_id": "o-1"}).encode())

    found = findings(deployment.verify())

    assert [finding["id"] for finding in found.pop("outcomes")] == ["o-1"]
    assert found == {}


def _is_invalid(written: Written) -> bool:
    return (REASON, b"invalid_event") in written.headers


def _other_bytes(written: Written) -> list[Written]:
    return [written._replace(value=b"\xff another")]


def _other_reason(written: Written) -> list[Written]:
    changed = [(k, b"run_settled" if k == REASON else v) for k, v in written.headers]
    return [written._replace(headers=changed)]


def _no_source(written: Written) -> list[Written]:
    return [written, written._replace(headers=[])]


@pytest.mark.parametrize(
    ("makes", "what"),
    [
        (_lost, "a bad record (invalid_event) has no dead letter"),
        (_other_bytes, "a dead letter with other bytes than its record"),
        (_other_reason, "a dead letter for run_settled"),
        (lambda written: [written, *_other_bytes(written)], "two different dead letters"),
        (_no_source, "a dead letter that names no record"),
    ],
)
def test_a_fault_in_a_dead_letter_is_named_with_its_place(
    deployment: Damageable, makes: Change, what: str
) -> None:
    letters = deployment.names.dead_letters(RUN_EVENTS)
    deployment.changes[letters] = Fault(RUN_EVENTS, _is_invalid, makes)
    live_through(deployment)

    found = findings(deployment.verify())

    assert list(found) == ["dead_letters"]
    [finding] = found["dead_letters"]
    assert what in finding["what"]
    topic = deployment.names.topic(RUN_EVENTS) if makes is _lost else letters
    assert finding["at"].startswith(f"{topic}/")
    if makes is _lost:
        [bad] = [m for m in deployment.records(topic) if m.value() == b"\xff no event"]
        assert finding["at"] == f"{topic}/{bad.partition()}/{bad.offset()}"


def test_a_dead_letter_of_a_good_record_is_named(deployment: Damageable) -> None:
    live_through(deployment)
    topic = deployment.names.topic(RUN_EVENTS)
    good = next(m for m in deployment.records(topic) if m.key() == b"m-1")
    origin = Origin(topic, good.partition(), good.offset())
    told = headers(origin, reason="invalid_event", detail="", service="worker")
    letters = deployment.names.dead_letters(RUN_EVENTS)
    deployment.send(letters, good.key(), good.value(), headers=told)

    found = findings(deployment.verify())

    assert list(found) == ["dead_letters"]
    [finding] = found["dead_letters"]
    source = f"{topic}/{good.partition()}/{good.offset()}"
    assert finding["what"] == f"a dead letter of {source}, which is no bad record"


def test_a_bad_pair_that_the_trainer_got_past_needs_a_dead_letter(deployment: Damageable) -> None:
    live_through(deployment)
    topic = deployment.names.topic(PAIRS)
    partition, offset = deployment.send(topic, b"m-4", b"no pair")
    assert findings(deployment.verify()) == {}  # the trainer is not there yet

    empty = deployment.data.segments / str(partition)
    empty.mkdir(exist_ok=True)
    hash_of_nothing = "e3b0c44298fc1c14"
    (empty / f"{offset:020d}-{offset:020d}.0.{hash_of_nothing}.jsonl").touch()

    found = findings(deployment.verify())

    what = "a bad record (invalid_row) has no dead letter"
    at = f"{topic}/{partition}/{offset}"
    assert found == {"dead_letters": [{"what": what, "id": None, "at": at}]}


def _state_of(run_id: str) -> Callable[[Written], bool]:
    return lambda written: (written.key or b"").startswith(run_id.encode() + b"\x00")


def _other_state(written: Written) -> list[Written]:
    return [written._replace(value=b"{}")]


@pytest.mark.parametrize(
    ("makes", "what"),
    [
        (_lost, "an event of an open run that the state has not"),
        (_other_state, "an event of an open run that the state has otherwise"),
        (
            lambda written: [written, written._replace(key=b"o-1\x00999")],
            "the state has an event that the log has not",
        ),
        (
            lambda written: [written, written._replace(key=b"o-1\x00settled")],
            "an open run that the state takes for settled",
        ),
    ],
)
def test_a_fault_in_the_state_of_an_open_run_is_named(
    deployment: Damageable, makes: Change, what: str
) -> None:
    state = deployment.names.state_changelog
    deployment.changes[state] = Fault(RUN_EVENTS, _state_of("o-1"), makes)
    live_through(deployment)

    found = findings(deployment.verify())

    assert list(found) == ["state"]
    assert [(finding["what"], finding["id"]) for finding in found["state"]] == [(what, "o-1")]


def test_a_settled_run_that_a_new_worker_would_take_for_open_is_named(
    deployment: Damageable,
) -> None:
    def forgets_to_settle(written: Written) -> list[Written]:
        is_end = written.value is None or (written.key or b"").endswith(b"settled")
        return [] if _state_of("m-2")(written) and is_end else [written]

    deployment.changes[deployment.names.state_changelog] = forgets_to_settle
    live_through(deployment)

    found = findings(deployment.verify())

    assert list(found) == ["state"]
    [finding] = found["state"]
    assert (finding["what"], finding["id"]) == (
        "a settled run that the state takes for open",
        "m-2",
    )


def test_an_outcome_that_overtook_another_is_named(deployment: Damageable) -> None:
    first, second = _neighbours()
    held: list[Written] = []

    def overtakes(written: Written) -> list[Written]:
        if not held:
            held.append(written)
            return []
        return [written, held[0]]

    deployment.changes[deployment.names.topic(RUN_OUTCOMES)] = overtakes
    deployment.say(*mixed_run(first), *mixed_run(second))
    deployment.settle()

    found = findings(deployment.verify())

    assert list(found) == ["order"]
    assert [finding["id"] for finding in found["order"]] == [first]


def _neighbours() -> tuple[str, str]:
    """Two runs on one partition."""
    homes: dict[int, str] = {}
    for number in range(PARTITIONS + 1):
        run_id = f"r-{number}"
        home = partition_of(run_id.encode(), PARTITIONS)
        if home in homes:
            return homes[home], run_id
        homes[home] = run_id
    raise AssertionError("five runs on four partitions")


def test_two_trainings_of_one_dataset_are_named(deployment: Damageable) -> None:
    first, _ = live_through(deployment)
    tell_step(deployment, "dpo-again", "started", first)

    found = findings(deployment.verify())

    assert list(found) == ["trainings"]
    [finding] = found["trainings"]
    assert finding["id"] == "dpo-again"
    assert finding["what"] == "ds-000001 is trained as dpo-ds-000001 already"


@pytest.mark.parametrize("step", sorted(LATEST_STEPS))
def test_what_a_user_had_trained_once_more_may_be_told_to_be_latest(
    step: TrainingStepName, deployment: Damageable
) -> None:
    first, _ = live_through(deployment)
    tell_step(deployment, "dpo-ds-000001-2", step, first)

    assert findings(deployment.verify()) == {}


def test_steps_of_a_newer_trainer_are_no_finding(deployment: Damageable) -> None:
    live_through(deployment)
    row = b'{"training_id":"dpo-ds-000001","step":"dreamt","dream":7}'
    deployment.send(deployment.names.topic(TRAININGS), b"dpo-ds-000001", row)

    assert findings(deployment.verify()) == {}


@pytest.mark.parametrize("row", [b"", b"no step", b"{}", b'{"step":"started"}'])
def test_what_is_no_step_of_a_training_is_named(row: bytes, deployment: Damageable) -> None:
    live_through(deployment)
    deployment.send(deployment.names.topic(TRAININGS), b"dpo-ds-000001", row)

    [finding] = findings(deployment.verify())["trainings"]
    assert finding["what"] == "no step of a training"


def test_what_the_worker_has_not_committed_is_not_missed(deployment: Damageable) -> None:
    live_through(deployment)
    deployment.say(*mixed_run("m-9"), *first_time_run("f-9"))
    deployment.send(deployment.names.topic(RUN_EVENTS), b"x", b"no event")

    report = deployment.verify()

    assert findings(report) == {}
    told: Any = next(check["note"] for check in report["checks"] if check["check"] == "progress")
    assert "not worked on yet: 10 events" in told


def test_a_trainer_that_shows_a_position_behind_its_segments_is_named(
    deployment: Damageable,
) -> None:
    live_through(deployment)
    topic = deployment.names.topic(PAIRS)
    ends = Cluster(deployment.settings).ranges({topic: PARTITIONS})[topic]
    deployment.commit(deployment.names.trainer_group, topic, {0: ends[0][1] + 1})

    found = findings(deployment.verify())

    assert list(found) == ["positions"]
    assert [finding["at"] for finding in found["positions"]] == ["pairstream.pairs.v1/0"]
