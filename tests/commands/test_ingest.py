"""Events from files: what is good is sent, what is bad is named."""

import json
from pathlib import Path

import pytest

from pairstream.sending import Sender
from schemas.topics import MAX_RECORD_BYTES, RUN_EVENTS
from tests.commands.deployment import Deployment, attempted, proposed, started
from tests.conftest import Pairstream


def lines(*events: object) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def test_good_lines_are_sent_and_bad_ones_named_with_number_and_reason(
    deployment: Deployment, pairstream: Pairstream, tmp_path: Path
) -> None:
    good = [started("r-1"), proposed("r-1"), attempted("r-1", 1, 2.0)]
    file = tmp_path / "runs.jsonl"
    file.write_text(
        lines(good[0]) + "not json\n\n" + lines(good[1], {**good[2], "score": -1}, good[2])
    )

    done = pairstream("ingest", file, env=deployment.env, check=False)

    assert done.returncode == 1
    assert f"{file}:2: invalid_event" in done.stderr
    assert f"{file}:5: invalid_event" in done.stderr
    assert "3 events sent and acknowledged; 2 bad lines" in done.stdout
    sent = deployment.records(deployment.names.topic(RUN_EVENTS))
    assert [json.loads(message.value()) for message in sent] == good
    assert {message.key() for message in sent} == {b"r-1"}


def test_events_come_from_standard_input_and_unknown_types_are_sent_and_counted(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    text = lines(started("r-2"), {"type": "run.paused", "run_id": "r-2"})

    done = pairstream("ingest", "-", env=deployment.env, stdin=text)

    assert "2 events sent and acknowledged, 1 of unknown types; 0 bad lines" in done.stdout
    assert len(deployment.records(deployment.names.topic(RUN_EVENTS))) == 2


def test_file_or_topic_that_is_not_there_is_named(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    no_file = pairstream("ingest", "nothing.jsonl", env=deployment.env, check=False)
    assert (no_file.returncode, no_file.stderr.count("nothing.jsonl")) == (1, 1)

    elsewhere = {**deployment.env, "PAIRSTREAM_TOPIC_PREFIX": "nobody-made-these."}
    no_topic = pairstream("ingest", "-", env=elsewhere, stdin="", check=False)
    assert no_topic.returncode == 1
    assert "pairstream topics apply" in no_topic.stderr


def test_a_label_that_an_agent_chose_does_not_steer_the_terminal(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = Sender(deployment.settings)

    sender.send(
        deployment.names.topic(RUN_EVENTS),
        b"r",
        bytes(MAX_RECORD_BYTES + 1),
        label="run \x1b[2Jr-1\nrun r-2",
    )
    sender.finish("events", remedy="none")

    assert sender.too_large == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(r"run \x1b[2Jr-1\nrun r-2: too large for the topic")
