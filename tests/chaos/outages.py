"""Blows at nodes and at the network, as tests/chaos/blows.py has them at processes."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.chaos.field import Field
from tests.chaos.schedule import Blow
from tests.chaos.supervisor import wait_until

# What settles while a blow lasts, before it is made good.
HELD_RUNS = 5
# How long a frozen node stands still: longer than its session with the controller (3 s).
FROZEN_SECONDS = 4.0
# By so much what is frozen or mute outlasts the session of the workers.
OUTLASTING_SECONDS = 0.5
SLOW_SECONDS = 0.08
ANSWERS = 4

Struck = Iterator[bool]


@contextmanager
def _node_down(field: Field, blow: Blow, how: signal.Signals) -> Struck:
    """It is started again, and what follows may meet it in the middle of that."""
    field.nodes.await_all()
    node = field.node(blow)
    node.end(how)
    yield True
    field.await_settled(HELD_RUNS)
    node.launch()


def kill_node(field: Field, blow: Blow) -> AbstractContextManager[bool]:
    return _node_down(field, blow, signal.SIGKILL)


def stop_node(field: Field, blow: Blow) -> AbstractContextManager[bool]:
    return _node_down(field, blow, signal.SIGTERM)


@contextmanager
def freeze_node(field: Field, blow: Blow) -> Struck:
    """A leader that wakes up and does not know that it was replaced."""
    field.nodes.await_all()
    node, since = field.node(blow), time.monotonic()
    node.send_signal(signal.SIGSTOP)
    try:
        yield True
        field.sit_out(FROZEN_SECONDS, since)
        field.await_settled(HELD_RUNS)
    finally:
        node.send_signal(signal.SIGCONT)


@contextmanager
def kill_all_nodes(field: Field, _: Blow) -> Struck:
    field.nodes.kill_all()
    yield True
    field.nodes.start_all()


@contextmanager
def cut(field: Field, _: Blow) -> Struck:
    yield sum(node.proxy.cut() for node in field.nodes.all) > 0


@contextmanager
def cut_node(field: Field, blow: Blow) -> Struck:
    yield field.node(blow).proxy.cut() > 0


@contextmanager
def slow(field: Field, _: Blow) -> Struck:
    for node in field.nodes.all:
        node.proxy.slow(SLOW_SECONDS)
    yield any(node.proxy.connections for node in field.nodes.all)
    field.await_settled(HELD_RUNS)
    for node in field.nodes.all:
        node.proxy.slow(0)


@contextmanager
def mute(field: Field, blow: Blow) -> Struck:
    field.nodes.await_all()
    proxy, since = field.node(blow).proxy, time.monotonic()
    wait_until(lambda: proxy.connections > 0, "a connection to fall silent")
    proxy.mute()
    yield True
    field.sit_out(field.session_seconds + OUTLASTING_SECONDS, since)
    proxy.unmute()


@contextmanager
def lose_answers(field: Field, _: Blow) -> Struck:
    """The broker has the records, and the client does not know."""
    proxies = [node.proxy for node in field.nodes.all]

    def lost() -> int:
        return sum(proxy.answers_lost for proxy in proxies)

    goal = lost() + ANSWERS
    for proxy in proxies:
        proxy.lose_answers(ANSWERS)
    yield True
    wait_until(lambda: lost() >= goal, "the loss of answers to produce requests")
    for proxy in proxies:
        proxy.lose_answers(0)
