"""`pairstream explain`: why a run gave its rows, or none, from what is really there."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairstream.pair_places import PairPlaces, find_sorted
from pairstream.run_records import RunRecords
from pairstream.story_text import REASONS
from schemas import clients
from schemas.placement import partition_of
from schemas.rows import DiscardReason
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from tests.commands.deployment import (
    PARTITIONS,
    Deployment,
    Event,
    attempted,
    finished,
    first_time_run,
    mixed_run,
    pair_ids,
    parsed_pairs,
    proposed,
    started,
    write_ended_training,
)
from tests.conftest import Pairstream
from tests.streams.asked import as_a_model_garbles
from trainer.layout import DataDir

FAILED_CODE = "raise SystemExit('the agent wrote this')"


def verdicts(story: dict[str, Any]) -> list[str]:
    return [event["verdict"] for event in story["events"]]


# --- Outcomes ------------------------------------------------------------------------------------

VOID = attempted("r-1", 1, 0, fault="infrastructure")
UNRUNNABLE = attempted("r-1", 1, 0, compiled=False, ran=False)
ELSEWHERE = attempted("r-1", 1, 4, strategy_id="s-2")
HEAD = [started("r-1"), proposed("r-1")]
# Its rows would hold the strategy 200 times, and be larger than a run's rows may be.
WIDE = [
    proposed("r-1", strategy="x" * 400_000),
    *(attempted("r-1", number, 1) for number in range(1, 201)),
]

RUNS: dict[DiscardReason, tuple[list[Event], str]] = {
    "incomplete": ([*HEAD, ELSEWHERE], "missing: strategy.proposed for s-2"),
    "void": ([*HEAD, VOID], "all its attempts are void"),
    "no_runnable_code": ([*HEAD, UNRUNNABLE], "none of its attempts compiled and ran"),
    "never_succeeded": ([*HEAD, attempted("r-1", 1, 0)], "none of its attempts scored above 0"),
    "no_shared_prompt": (
        [*HEAD, attempted("r-1", 1, 0), proposed("r-1", "s-2"), ELSEWHERE],
        "no strategy of it has both a success and a failure",
    ),
    "too_large": ([started("r-1"), *WIDE], "larger than PAIRSTREAM_RUN_MAX_BYTES allows"),
    "not_redacted": (
        [*HEAD, attempted("r-1", 1, 2.5)],
        "the program of PAIRSTREAM_REDACT_COMMAND failed on its texts",
    ),
}


@pytest.mark.parametrize("reason", RUNS)
def test_a_discarded_run_says_why_it_gave_no_pair(
    deployment: Deployment, reason: DiscardReason
) -> None:
    events, sentence = RUNS[reason]
    if reason == "not_redacted":
        deployment.fail_to_redact()
    deployment.say(*events, finished("r-1"))
    deployment.settle()

    story = deployment.run_json("explain", "r-1")
    text = deployment.run("explain", "r-1")

    (outcome,) = story["outcomes"]
    assert (outcome["outcome"], outcome["reason"]) == ("discarded", reason)
    assert text.startswith(f"run r-1: discarded\n  {reason}: ")
    assert sentence in text
    assert story["pairs"] == []
    # Its attempts that count still gave scored rows.
    assert len(story["scored_rows"]) == outcome["scored_rows"]


def test_every_reason_of_the_contract_has_a_sentence_and_a_test() -> None:
    assert set(REASONS) == set(RUNS) == set(get_args(DiscardReason))


def test_a_paired_run_shows_events_scored_rows_and_pairs(deployment: Deployment) -> None:
    places = deployment.say(*mixed_run("r-1"))
    deployment.say(*mixed_run("r-2"))
    deployment.settle()
    (pair,) = [pair for pair in parsed_pairs(deployment) if pair.run_id == "r-1"]

    story = deployment.run_json("explain", "r-1")

    assert [(event["partition"], event["offset"]) for event in story["events"]] == places
    assert verdicts(story) == ["taken_in"] * 4 + ["settles"]
    assert all(event["committed"] for event in story["events"])
    assert [event["says"] for event in story["events"]][1:4] == [
        "s-1: “Empty the cache of r-1.”",
        "s-1 attempt 1: failure: did not compile, 1 line of code",
        "s-1 attempt 2: success, score 12.5, 1 line of code",
    ]
    kinds = {(row["kind"], row["attempt"], row["score"]) for row in story["scored_rows"]}
    assert kinds == {("code_success", 2, 12.5), ("strategy_success", 2, 12.5)}
    (shown,) = story["pairs"]
    assert (shown["pair_id"], shown["rule"]) == (pair.pair_id, "mixed_code")
    assert (shown["chosen_attempt"], shown["rejected_attempt"]) == (2, 1)
    assert (shown["chosen_score"], shown["rejected_score"]) == (12.5, 0)


# --- Events --------------------------------------------------------------------------------------


def test_each_event_says_what_it_did_to_the_run(deployment: Deployment) -> None:
    expiry = {"type": "run.expired", "run_id": "r-1", "time": "2026-11-23T11:00:00Z", "events": 1}
    deployment.say(
        started("r-1"),
        started("r-1"),
        started("r-1", agent_id="another"),
        {"type": "run.paused", "run_id": "r-1", "time": "2026-11-23T10:00:00Z"},
        attempted("r-1", 1, -1),
        proposed("r-1"),
        expiry,
        finished("r-1"),
        attempted("r-1", 2, 1),
        finished("r-1"),
    )
    deployment.settle()

    story = deployment.run_json("explain", "r-1")
    text = deployment.run("explain", "r-1")

    letters = deployment.run_json("dlt", "list")["letters"]
    places = {
        letter["source_offset"]: f"{letter['topic']}/{letter['partition']}/{letter['offset']}"
        for letter in letters
    }
    told = [(e["verdict"], e["reason"], e["dead_letter"]) for e in story["events"]]
    offsets = [event["offset"] for event in story["events"]]
    assert told == [
        ("taken_in", None, None),
        ("duplicate", None, None),
        ("refused", "conflicting_start", places[offsets[2]]),
        ("unknown_type", None, None),
        ("refused", "invalid_event", places[offsets[4]]),
        ("taken_in", None, None),
        ("overtaken", None, None),
        ("settles", None, None),
        ("refused", "run_settled", places[offsets[8]]),
        ("duplicate", None, None),
    ]
    assert story["dead_letters"] == []
    assert f"dead letter {places[offsets[8]]}" in text
    assert "its type is not known: skipped" in text


def test_events_that_no_worker_has_done_with_are_marked(deployment: Deployment) -> None:
    deployment.say(started("r-1"))
    deployment.settle()
    deployment.say(proposed("r-1"), finished("r-1"))

    story = deployment.run_json("explain", "r-1")
    text = deployment.run("explain", "r-1")

    assert [event["committed"] for event in story["events"]] == [True, False, False]
    assert story["fate"]["state"] == "settled"
    assert text.startswith("run r-1: not settled\n  its events settle it, but there is no outcome")


def test_an_event_under_another_key_is_found_among_the_dead_letters(
    deployment: Deployment,
) -> None:
    deployment.say(*mixed_run("r-1"))
    stray = json.dumps(proposed("r-1", "s-9")).encode()
    deployment.send(deployment.names.topic(RUN_EVENTS), b"r-2", stray)
    deployment.settle()

    story = deployment.run_json("explain", "r-1")

    assert len(story["events"]) == 5
    (letter,) = story["dead_letters"]
    assert (letter["reason"], letter["key"]) == ("invalid_event", "r-2")


def test_events_that_a_foreign_client_placed_elsewhere_are_found(deployment: Deployment) -> None:
    elsewhere = (partition_of(b"r-1", PARTITIONS) + 1) % PARTITIONS
    for event in mixed_run("r-1"):
        deployment.send(
            deployment.names.topic(RUN_EVENTS),
            b"r-1",
            json.dumps(event).encode(),
            partition=elsewhere,
        )
    deployment.settle()

    story = deployment.run_json("explain", "r-1")

    assert {event["partition"] for event in story["events"]} == {elsewhere}
    assert len(story["pairs"]) == 1


def test_a_run_of_refused_events_only_is_no_run(deployment: Deployment) -> None:
    deployment.say(attempted("r-1", 1, -1))
    deployment.settle()

    text = deployment.run("explain", "r-1")

    assert "no event of it was taken in, so it is no run yet" in text
    assert "refused: invalid_event: Expected `float` >= 0.0" in text


def test_a_run_whose_events_are_gone_is_told_by_its_rows(deployment: Deployment) -> None:
    deployment.say(*mixed_run("r-1"))
    deployment.settle()
    for name in map(deployment.names.topic, (RUN_OUTCOMES, SCORED_ROWS, PAIRS)):
        for record in deployment.records(name):
            key, value = b"r-2", record.value().replace(b'"r-1"', b'"r-2"')
            deployment.send(name, key, value)

    story = deployment.run_json("explain", "r-2")

    assert story["events"] == []
    assert story["outcomes"][0]["outcome"] == "paired"
    assert (len(story["scored_rows"]), len(story["pairs"])) == (2, 1)


def test_a_record_under_the_runs_key_that_is_no_row_is_named(deployment: Deployment) -> None:
    deployment.say(started("r-1"))
    outcomes = deployment.names.topic(RUN_OUTCOMES)
    partition, offset = deployment.send(outcomes, b"r-1", b'{"outcome": ' + b"[" * 5000)

    story = deployment.run_json("explain", "r-1")

    assert story["unreadable"] == [f"{outcomes}/{partition}/{offset}"]


# --- Open and unknown runs -----------------------------------------------------------------------


def test_an_open_run_says_when_it_will_expire(deployment: Deployment) -> None:
    deployment.say(started("r-1"))
    deployment.say(attempted("r-1", 1, 2))
    deployment.settle()

    story = deployment.run_json("explain", "r-1", "--run-timeout-seconds", 90)
    text = deployment.run("explain", "r-1")

    last = datetime.fromisoformat(story["events"][-1]["time"])
    assert story["fate"] == {
        "state": "open",
        "taken_in": 2,
        "last_seen": story["events"][-1]["time"],
        "missing": ["strategy.proposed for s-1"],
    }
    assert datetime.fromisoformat(story["expires_at"]) == last + timedelta(seconds=90)
    default = (last + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert text.startswith("run r-1: open\n  2 events taken in, none ends it; last seen ")
    assert f"a worker settles it as it stands at about {default}\n" in text
    assert "  not there yet: strategy.proposed for s-1\n" in text


def test_an_unknown_run_says_where_it_was_looked_for(
    pairstream: Pairstream, deployment: Deployment
) -> None:
    deployment.say(*mixed_run("r-1"))

    done = pairstream("explain", "r-\x1b9", env=deployment.env, check=False)

    assert done.returncode == 1
    assert r"nothing is known of the run 'r-\x1b9' at " in done.stderr
    assert deployment.names.topic(RUN_EVENTS) in done.stderr
    assert deployment.names.dead_letters(PAIRS) in done.stderr
    assert done.stdout == ""


# --- Datasets and trainings ----------------------------------------------------------------------


def test_each_pair_says_how_far_it_has_come(deployment: Deployment) -> None:
    def states(run_id: str) -> list[str]:
        story = deployment.run_json("explain", run_id)
        return [pair["state"] for pair in story["pairs"]]

    deployment.say(*first_time_run("f-1"))
    deployment.settle()
    assert states("f-1") == ["waits_for_garbling"] * 2

    deployment.garble()
    assert states("f-1") == ["in_topic"] * 2

    deployment.take_in()
    assert states("f-1") == ["in_segment"] * 2

    dataset = deployment.cut()
    story = deployment.run_json("explain", "f-1")
    assert [pair["state"] for pair in story["pairs"]] == ["in_dataset"] * 2
    assert [pair["garbler"] for pair in story["pairs"]] == ["corrupt"] * 2
    assert {pair["dataset"]["dataset"] for pair in story["pairs"]} == {dataset.name}


def test_a_pair_says_how_far_a_models_text_is_from_the_good_one(deployment: Deployment) -> None:
    deployment.say(*first_time_run("f-1"))
    deployment.settle()
    deployment.garble(as_a_model_garbles)

    [_, pair] = deployment.run_json("explain", "f-1", "--full")["pairs"]
    text = deployment.run("explain", "f-1")

    # Of the five pieces of "free(1)" three are in "ee(1)fr" too.
    assert pair["garbled_distance"] == pair["pair"]["garbled_distance"] == 0.4
    assert "rejected garbled (high_temperature, distance 0.4)" in text


def test_the_trainings_on_a_pairs_dataset_are_shown_with_their_results(
    deployment: Deployment,
) -> None:
    deployment.say(*mixed_run("r-1"))
    deployment.settle()
    deployment.take_in()
    first = deployment.cut()
    deployment.say(*mixed_run("r-2"))
    deployment.settle()
    deployment.take_in()
    deployment.cut(first)
    data = deployment.data
    write_ended_training(data, "dpo-ds-000001", "ds-000001", exit_code=12, why="no memory")
    write_ended_training(data, "dpo-ds-000001-2", "ds-000001", exit_code=0, why=None)
    (data.models / "dpo-ds-000002").mkdir()

    def trainings(run_id: str) -> dict[str, str]:
        (pair,) = deployment.run_json("explain", run_id)["pairs"]
        return {t["training_id"]: t["state"] for t in pair["dataset"]["trainings"]}

    assert trainings("r-1") == {"dpo-ds-000001": "failed", "dpo-ds-000001-2": "succeeded"}
    assert trainings("r-2") == {"dpo-ds-000002": "requested"}
    text = deployment.run("explain", "r-1")
    assert "in ds-000001/train.jsonl" in text
    assert "dpo-ds-000001  failed  2026-11-23T10:00:00Z  no memory" in text


# --- Texts ---------------------------------------------------------------------------------------


def test_texts_are_shown_only_when_asked_for(deployment: Deployment) -> None:
    prompt = "Free space for r-1."
    run = mixed_run("r-1")
    run[2] = attempted("r-1", 1, 0, code=f"import os\n{FAILED_CODE}", error="E" * 500)
    deployment.say(*run)
    deployment.settle()

    short, full = deployment.run("explain", "r-1"), deployment.run("explain", "r-1", "--full")
    short_json = deployment.run("explain", "r-1", "--json")
    story = deployment.run_json("explain", "r-1", "--full")

    for text in (FAILED_CODE, prompt, "E" * 100):
        assert text not in short + short_json
        assert text in full
    assert story["events"][2]["content"]["code"] == f"import os\n{FAILED_CODE}"
    assert story["pairs"][0]["pair"]["rejected"][0]["content"] == f"import os\n{FAILED_CODE}"
    assert story["scored_rows"][0]["row"]["prompt"]


@pytest.mark.parametrize("flags", [[], ["--full"]])
def test_no_character_of_an_agent_steers_the_terminal(
    deployment: Deployment, flags: list[str]
) -> None:
    evil = "\x1b[2J\x9b31m\u202e\rrun r-1: paired"
    run_id = f"r\x1b[1m{evil}"
    deployment.say(
        started(run_id, agent_id=evil),
        proposed(run_id, evil, strategy=f"{evil}\n{evil}"),
        attempted(run_id, 1, 0, strategy_id=evil, code=f"{evil}\n{evil}", error=evil),
        attempted(run_id, 2, 1, strategy_id=evil),
        finished(run_id),
        {"type": evil, "run_id": run_id, "time": "2026-11-23T10:00:00Z"},
    )
    deployment.send(deployment.names.topic(RUN_EVENTS), run_id.encode(), b"\xff\x1b[2J")
    deployment.settle()

    text = deployment.run("explain", *flags, "--", run_id)
    as_json = deployment.run("explain", "--json", *flags, "--", run_id)

    assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert as_json.isascii()


def test_no_character_of_a_foreign_row_steers_the_terminal(deployment: Deployment) -> None:
    deployment.say(*first_time_run("r-1"))
    deployment.settle()
    deployment.garble()
    pairs = deployment.names.topic(PAIRS)
    for record in deployment.records(pairs):
        evil = {"pair_id": "\x1b[2J", "garbler": "\x9b31m\nrun r-1: discarded"}
        foreign = json.dumps({**json.loads(record.value()), **evil}).encode()
        deployment.send(pairs, record.key(), foreign)

    text = deployment.run("explain", "r-1")

    assert r"\x1b[2J" in text
    assert r"garbled (\x9b31m\nrun r-1: discarded)" in text
    assert all(character.isprintable() for line in text.split("\n") for character in line)


def test_a_pair_that_no_dataset_took_says_why(deployment: Deployment) -> None:
    tie = [attempted("r-2", 1, 0), attempted("r-2", 2, 0.5)]
    deployment.say(*first_time_run("r-1"), started("r-2"), proposed("r-2"), *tie, finished("r-2"))
    deployment.settle()
    deployment.garble()
    deployment.take_in()
    deployment.say(*mixed_run("r-3"))
    deployment.settle()
    deployment.take_in()
    newest = deployment.cut(max_garbled_share=0.5, min_score_gap=1.0)
    assert newest.left_out == {"garbled_share": 1, "score_gap": 1}

    (far,) = deployment.run_json("explain", "r-2")["pairs"]
    both = deployment.run_json("explain", "r-1")["pairs"]

    left = {"dataset": "ds-000001", "reason": "score_gap", "waits": False}
    assert (far["state"], far["left_out"], far["dataset"]) == ("left_out", left, None)
    assert "left out of ds-000001 for good: score_gap" in deployment.run("explain", "r-2")
    (waiting,) = [pair for pair in both if pair["left_out"]]
    assert {pair["state"] for pair in both} == {"waits", "in_dataset"}
    assert (waiting["state"], waiting["left_out"]["waits"]) == ("waits", True)
    shown = deployment.run("explain", "r-1")
    assert "waits for the next dataset; not in ds-000001: garbled_share" in shown


# --- Where keys and pairs are --------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 4, 7])
def test_keys_are_placed_as_the_producers_place_them(
    deployment: Deployment, partitions: int
) -> None:
    topic = f"{deployment.names.prefix}placement-{partitions}"
    deployment.create(topic, partitions)
    keys = [bytes(range(length)) for length in range(1, 40)] + [
        text.encode() for text in ("r-1", "räumen", "清理" * 40, "\x00", "a" * 256)
    ]
    placed: dict[bytes, int] = {}
    producer = Producer(clients.producer(deployment.settings))
    for key in keys:
        producer.produce(
            topic, b"", key, on_delivery=lambda _, m: placed.__setitem__(m.key(), m.partition())
        )
    assert producer.flush(30) == 0

    assert {key: partition_of(key, partitions) for key in keys} == placed


def test_the_search_reads_the_one_partition_on_which_a_run_is(deployment: Deployment) -> None:
    deployment.say(*mixed_run("r-1"), *(started(f"n-{number}") for number in range(40)))
    events = deployment.names.topic(RUN_EVENTS)
    home = partition_of(b"r-1", PARTITIONS)
    records = RunRecords(deployment.settings, "r-1", lambda *_: None)

    assert {record.partition for record in records.events()} == {home}
    assert len(records.events()) == 5
    assert {record.partition() for record in deployment.records(events)} == set(range(PARTITIONS))


ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@pytest.fixture
def sorted_file(tmp_path: Path) -> Path:
    """`train.jsonl` of a dataset that the test fills."""
    folder = tmp_path / "datasets" / "ds-000001"
    folder.mkdir(parents=True)
    return folder / "train.jsonl"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(known=st.sets(ids, max_size=20), unknown=ids, lengths=st.randoms(use_true_random=False))
def test_a_pair_is_found_in_a_dataset_exactly_if_it_stands_there(
    sorted_file: Path, known: set[str], unknown: str, lengths: Any
) -> None:
    lines = [
        json.dumps({"pair_id": pair_id, "x": "y" * lengths.randrange(200)}, separators=(",", ":"))
        for pair_id in sorted(known)
    ]
    sorted_file.write_text("".join(f"{line}\n" for line in lines))

    assert all(find_sorted(sorted_file, pair_id) for pair_id in known)
    assert (find_sorted(sorted_file, unknown) is not None) is (unknown in known)


def test_every_pair_of_a_real_dataset_is_found(deployment: Deployment) -> None:
    for number in range(12):
        deployment.say(*mixed_run(f"r-{number}"))
    deployment.settle()
    deployment.take_in()
    deployment.cut()
    places = PairPlaces(deployment.data)

    found = [
        places.dataset(pair_id) for pair_id in pair_ids(deployment.data.datasets / "ds-000001")
    ]

    assert len(found) == 12
    assert all(place is not None and place.dataset == "ds-000001" for place in found)
    assert places.dataset("0" * 32) is None


def test_a_data_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    places = PairPlaces(DataDir(tmp_path / "nowhere"))

    assert places.dataset("0" * 32) is None
    assert not places.is_waiting("0" * 32)
