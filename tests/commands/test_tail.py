"""`pairstream tail`: what comes is shown, filtered, and steers no terminal."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.commands.tail import ALONE
from pairstream.following import Follower
from pairstream.sightings import Filter, as_sighting
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES
from streams.broker import EmbeddedBroker
from tests.commands.deployment import (
    Deployment,
    attempted,
    finished,
    mixed_run,
    proposed,
    started,
)

ESCAPE = "\x1b[2J\u202e"


@pytest.fixture
def filled(deployment: Deployment) -> Deployment:
    """One pair of `m-1`, one run without success, one dead letter."""
    deployment.say(*mixed_run("m-1"))
    deployment.say(started("n-1", agent_id=f"a{ESCAPE}"), proposed("n-1"))
    deployment.say(attempted("n-1", 1, 0), finished("n-1"))
    deployment.send(deployment.names.topic(RUN_EVENTS), b"x-1", b"{no event")
    deployment.settle()
    return deployment


def tail(deployment: Deployment, *words: str) -> list[dict[str, Any]]:
    lines = deployment.run("tail", "--since", "1h", "--json", *words).splitlines()
    return [json.loads(line) for line in lines]


def test_all_three_kinds_are_shown(filled: Deployment) -> None:
    found = tail(filled, "-n", "4")

    assert sorted(each["kind"] for each in found) == ["dead_letter", "outcome", "outcome", "pair"]
    [pair] = [each for each in found if each["kind"] == "pair"]
    assert pair["row"]["chosen"][0]["content"] == "free(2)"
    assert pair["place"].startswith(filled.names.topic(PAIRS) + "/")


@pytest.mark.parametrize(
    ("words", "kind", "run"),
    [
        (["--rule", "mixed_code"], "pair", "m-1"),
        (["--outcome", "never_succeeded"], "outcome", "n-1"),
        (["--outcome", "paired"], "outcome", "m-1"),
        (["--run", "n-1"], "outcome", "n-1"),
        (["--agent", f"a{ESCAPE}"], "outcome", "n-1"),
        (["--topic", "pairs"], "pair", "m-1"),
    ],
)
def test_filters(filled: Deployment, words: list[str], kind: str, run: str) -> None:
    [found] = tail(filled, "-n", "1", *words)

    assert (found["kind"], found["row"]["run_id"]) == (kind, run)


def test_a_dead_letter_is_of_the_run_that_is_its_key(filled: Deployment) -> None:
    [found] = tail(filled, "-n", "1", "--run", "x-1")

    assert found["letter"]["reason"] == "invalid_event"


def test_lines_steer_no_terminal(filled: Deployment) -> None:
    text = filled.run("tail", "--since", "1h", "-n", "4")

    assert len(text.splitlines()) == 4
    assert ESCAPE not in text
    assert "\\x1b[2J\\u202e" in text
    assert "m-1  mixed_code  score 12.5 over 0" in text


def test_without_a_time_it_begins_with_what_comes_next(filled: Deployment) -> None:
    topic = filled.names.topic(RUN_OUTCOMES)
    with Follower(filled.settings, [topic], since=None) as follower:
        filled.say(*mixed_run("m-2"))
        filled.settle()
        found: list[str] = []
        while not found:
            found = [run for message in follower.news() for run in as_sighting(message).runs]

    assert found == ["m-2"]


def test_a_prefix_that_holds_the_word_outcomes_changes_no_kind(
    embedded_broker: str, prefix: str, tmp_path: Path
) -> None:
    made = Deployment(embedded_broker, f"{prefix}outcomes.", tmp_path / "data")
    made.say(*mixed_run("m-1"))
    made.settle()

    assert sorted(each["kind"] for each in tail(made, "-n", "2")) == ["outcome", "pair"]


@pytest.mark.long
def test_brokers_that_go_and_come_are_told_once_each(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        made = Deployment(broker.bootstrap_servers, "", tmp_path / "data")
        process = subprocess.Popen(
            [sys.executable, "-m", "pairstream", "tail"],
            env={**os.environ, **made.env}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
    assert process.stderr.readline() == f"{ALONE}\n"
    with EmbeddedBroker(broker.port):
        assert process.stderr.readline() == "the brokers answer again\n"
        process.terminate()
        assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_what_is_no_row_is_said_to_be_none(deployment: Deployment) -> None:
    deployment.send(deployment.names.topic(PAIRS), b"r-9", b"[]")

    text = deployment.run("tail", "--since", "1h", "-n", "1", "--run", "r-9")

    assert "is no pair of ours" in text


def test_sigterm_ends_it_cleanly(deployment: Deployment) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pairstream", "tail"],
        env={**os.environ, **deployment.env},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "following" in process.stderr.readline()
    process.terminate()
    _, said = process.communicate(timeout=60)

    assert process.returncode == 0
    assert said == ""


def test_missing_topics_are_named(embedded_broker: str) -> None:
    done = CliRunner().invoke(
        cli, ["tail", "--bootstrap-servers", embedded_broker, "--topic-prefix", "none."]
    )

    assert "none.pairstream.pairs.v1" in str(done.exception)


def test_an_empty_filter_has_everything(filled: Deployment) -> None:
    sighting = as_sighting(filled.records(filled.names.topic(PAIRS))[0])

    assert Filter().has(sighting)
    assert not Filter(outcome="paired").has(sighting)
    assert datetime.fromisoformat(sighting.time).tzinfo == UTC
