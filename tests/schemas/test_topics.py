"""Contract, section 2: names, keys, how long each topic is kept."""

import pytest

from schemas.settings import TopicSettings
from schemas.topics import CONSUMED, TOPICS, Names, dead_letters_of

DAY_MS = 24 * 60 * 60 * 1000

TABLE = {
    "pairstream.run-events.v1": ("run_id", 14 * DAY_MS),
    "pairstream.pairs.v1": ("run_id", -1),
    "pairstream.scored-rows.v1": ("run_id", 30 * DAY_MS),
    "pairstream.run-outcomes.v1": ("run_id", 30 * DAY_MS),
    "pairstream.garble-requests.v1": ("run_id", 7 * DAY_MS),
    "pairstream.trainings.v1": ("training_id", -1),
    "pairstream.run-events.v1-dlt": ("as it came", 30 * DAY_MS),
    "pairstream.pairs.v1-dlt": ("as it came", 30 * DAY_MS),
    "pairstream.garble-requests.v1-dlt": ("as it came", 30 * DAY_MS),
}


def test_topics_are_those_of_the_contract() -> None:
    assert {topic.name: (topic.key, topic.retention_ms) for topic in TOPICS} == TABLE


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_topic_deletes_what_is_old(topic) -> None:  # type: ignore[no-untyped-def]
    assert topic.config["cleanup.policy"] == "delete"
    assert topic.config["retention.ms"] == str(TABLE[topic.name][1])


@pytest.mark.parametrize("topic", CONSUMED, ids=lambda topic: topic.name)
def test_dead_letters_lie_beside_their_topic(topic) -> None:  # type: ignore[no-untyped-def]
    assert dead_letters_of(topic) in TOPICS
    assert Names("a.").dead_letters(topic) == f"a.{topic.name}-dlt"


def test_rows_and_dead_letters_may_be_larger_than_what_agents_send() -> None:
    """A row joins several texts, each up to a broker's default of 1 MiB."""
    limits = {topic.name: topic.config.get("max.message.bytes") for topic in TOPICS}

    assert limits.pop("pairstream.run-events.v1") is None
    assert {int(limit or 0) >= 4 * 1024 * 1024 for limit in limits.values()} == {True}


@pytest.mark.parametrize("prefix", ["", "staging.", "team-7."])
def test_prefix_goes_before_every_name(prefix: str) -> None:
    names, plain = Names(prefix), Names()

    assert [names.topic(topic) for topic in TOPICS] == [prefix + topic.name for topic in TOPICS]
    assert names.worker_app == prefix + plain.worker_app
    assert names.trainer_group == prefix + plain.trainer_group
    assert names.state_changelog == prefix + plain.state_changelog


def test_partitions_and_copies_are_settings_of_the_contract() -> None:
    assert (TopicSettings().partitions, TopicSettings().replication_factor) == (4, 1)
