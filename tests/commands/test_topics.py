"""Topics are made once, and what differs is said and left alone."""

import json

import pytest
from confluent_kafka.admin import NewTopic

from pairstream.cluster import Cluster
from schemas.settings import TopicSettings
from schemas.topics import PAIRS, RUN_EVENTS, TOPICS, Names
from tests.conftest import Pairstream


def test_topics_are_made_once_and_a_difference_is_said(
    embedded_broker: str, prefix: str, pairstream: Pairstream
) -> None:
    environment = {
        "PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker,
        "PAIRSTREAM_TOPIC_PREFIX": prefix,
    }

    first = pairstream("topics", "apply", "--partitions", "2", env=environment)
    assert first.stdout.count(": created") == len(TOPICS) + 1
    again = pairstream("topics", "apply", "--partitions", "2", env=environment)
    assert again.stdout.count(": as wanted") == len(TOPICS) + 1

    other = pairstream("topics", "apply", "--partitions", "3", env=environment, check=False)
    assert other.returncode == 1
    assert "partitions are 2, not 3" in other.stdout
    assert "PAIRSTREAM_TOPIC_PREFIX" in other.stderr
    from schemas.settings import KafkaSettings

    name = Names(prefix).topic(RUN_EVENTS)
    assert Cluster(KafkaSettings(bootstrap_servers=embedded_broker)).require(name) == {name: 2}


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [("retention.ms", "2592000000", 0), ("cleanup.policy", "compact", 1)],
)
def test_how_long_records_are_kept_is_said_and_no_error(
    embedded_broker: str, prefix: str, pairstream: Pairstream, key: str, value: str, code: int
) -> None:
    settings = TopicSettings(bootstrap_servers=embedded_broker, topic_prefix=prefix, partitions=1)
    name = Names(prefix).topic(PAIRS)
    Cluster(settings).create([NewTopic(name, 1, 1, config={**PAIRS.config, key: value})])
    words = ("topics", "apply", "--partitions", "1", "--topic-prefix", prefix)
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker}

    done = pairstream(*words, env=env, check=False)

    assert done.returncode == code
    said = f"{key} is {value}, not {PAIRS.config[key]}"
    assert f"{name}: {said}{' (as chosen)' if code == 0 else ''}\n" in done.stdout
    told = json.loads(pairstream(*words, "--json", env=env, check=False).stdout)["topics"]
    [found] = [each for each in told if each["name"] == name]
    assert (found["chosen"], found["differs"]) == (([said], []) if code == 0 else ([], [said]))


def test_broker_that_does_not_answer_is_named(pairstream: Pairstream) -> None:
    done = pairstream(
        "topics", "apply", "--wait", "0.5", "--bootstrap-servers", "127.0.0.1:1", check=False
    )

    assert done.returncode == 1
    assert done.stderr == (
        "pairstream: no broker answers at 127.0.0.1:1: is it running, and there? "
        "PAIRSTREAM_BOOTSTRAP_SERVERS says where, and `pairstream broker --port 1` starts one for "
        "development\n"
    )


def test_acls_are_printed_for_a_shell_or_as_json(pairstream: Pairstream) -> None:
    words = ("topics", "acls", "--role", "agent", "--role", "trainer", "--topic-prefix", "t.")
    prefix = ("--principal-prefix", "User:two words-")

    [agent, *trainer] = pairstream(*words, *prefix).stdout.splitlines()

    assert agent == (
        "kafka-acls.sh --bootstrap-server 127.0.0.1:9092 --command-config admin.properties --add "
        "--allow-principal 'User:two words-agent' --topic t.pairstream.run-events.v1 "
        "--operation Write"
    )
    assert len(trainer) == 4
    rules = json.loads(pairstream(*words, "--json").stdout)
    assert rules[0] == {
        "principal": "User:pairstream-agent",
        "resource": "topic",
        "name": "t.pairstream.run-events.v1",
        "operation": "WRITE",
    }
    assert {rule["principal"] for rule in rules[1:]} == {"User:pairstream-trainer"}
