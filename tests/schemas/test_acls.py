"""What each process must be allowed, as a table."""

from typing import get_args

import pytest

from schemas.acls import COMMANDS, ROLES, Role, Rule, missing, rules
from schemas.topics import CONSUMED, RUN_EVENTS, TOPICS, Names

NAMES = Names("t.")
READ = Rule("User:x", "topic", "t.a", "READ")
WRITE = Rule("User:x", "topic", "t.a", "WRITE")
GROUP = Rule("User:x", "group", "t.g", "READ")


def test_every_role_is_described() -> None:
    assert set(ROLES) == set(COMMANDS) == set(get_args(Role))


def test_an_agent_may_write_events_and_nothing_else() -> None:
    assert rules("agent", "User:a", NAMES) == [
        Rule("User:a", "topic", NAMES.topic(RUN_EVENTS), "WRITE")
    ]


@pytest.mark.parametrize("role", ["worker", "trainer", "reader"])
def test_only_an_admin_makes_topics_and_a_reader_writes_nothing(role: Role) -> None:
    operations = {rule.operation for rule in rules(role, "User:a", NAMES)}

    assert operations <= ({"READ", "DESCRIBE"} if role == "reader" else {"READ", "WRITE"})


def test_a_bridge_makes_the_topic_of_spans_alone_and_reads_no_other() -> None:
    found = rules("bridge", "User:a", NAMES)

    made = {rule.name for rule in found if rule.operation in ("CREATE", "READ")}
    assert made == {NAMES.spans, NAMES.bridge_group}
    assert {rule.name for rule in found} - made == {NAMES.topic(RUN_EVENTS)}


def test_a_reader_reads_all_that_there_is() -> None:
    found = {rule.name for rule in rules("reader", "User:a", NAMES) if rule.operation == "READ"}

    assert found == {*map(NAMES.topic, TOPICS), NAMES.state_changelog}


def test_an_admin_writes_what_dead_letters_go_back_to() -> None:
    found = {rule.name for rule in rules("admin", "User:a", NAMES) if rule.operation == "WRITE"}

    assert found >= set(map(NAMES.topic, CONSUMED))


@pytest.mark.parametrize("role", get_args(Role))
def test_no_rule_stands_twice_and_all_names_have_the_prefix(role: Role) -> None:
    found = rules(role, "User:a", NAMES)

    assert len(found) == len(set(found))
    assert all(rule.name.startswith("t.") for rule in found)


def test_what_is_not_allowed_is_missing_and_what_is_not_told_is_not() -> None:
    wanted = [READ, WRITE, GROUP]

    assert missing(wanted, {}) == []
    assert missing(wanted, {("topic", "t.a"): {"READ", "DESCRIBE"}}) == [WRITE]
    assert missing(wanted, {("topic", "t.a"): set(), ("group", "t.g"): {"READ"}}) == [READ, WRITE]
