"""The blows: each is struck when its block begins and made good when it ends."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.chaos.field import Field
from tests.chaos.schedule import Blow, Kind
from tests.chaos.supervisor import ChaosError, Life, Supervised, wait_until

# What settles while a blow lasts, before it is made good.
HELD_RUNS = 10
FROZEN_RUNS = 60

MOST_WORKERS, FEWEST_WORKERS = 4, 2

# Longer than the sessions of workers and nodes.
FROZEN_SECONDS = 7.0
# How long an outage of the network lasts: no condition could tell.
MUTE_SECONDS = 12.0
SLOW_SECONDS = 0.08
ANSWERS = 6

# A worker ends hard when its stop takes longer than 30 s.
STOP_SECONDS = 45.0
LOCK_LINE = "another trainer works on"

Strike = Callable[[Field, Blow], AbstractContextManager[None]]


def _worker(field: Field, blow: Blow) -> Supervised:
    return field.workers[blow.target % len(field.workers)]


@contextmanager
def _kill(life: Life) -> Iterator[None]:
    life.send(signal.SIGKILL)
    yield
    wait_until(lambda: life.has_ended, f"the end of {life.name} after SIGKILL")


@contextmanager
def _stop(life: Life) -> Iterator[None]:
    life.send(signal.SIGTERM)
    yield
    wait_until(
        lambda: life.has_ended, f"the end of {life.name} after SIGTERM", seconds=STOP_SECONDS
    )


def _kill_worker(field: Field, blow: Blow) -> AbstractContextManager[None]:
    return _kill(_worker(field, blow).life)


def _stop_worker(field: Field, blow: Blow) -> AbstractContextManager[None]:
    return _stop(_worker(field, blow).life)


@contextmanager
def _freeze_worker(field: Field, blow: Blow) -> Iterator[None]:
    """Until the group has given it up and others have done its work; then it must end itself."""
    life = _worker(field, blow).life
    took_part = field.has_taken_over(life)
    life.send(signal.SIGSTOP)
    yield
    field.sit_out(FROZEN_SECONDS)
    wait_until(lambda: field.members() < len(field.workers), "the group's giving up on a zombie")
    field.await_settled(HELD_RUNS)
    life.send(signal.SIGCONT)
    if took_part:
        wait_until(lambda: life.has_ended, "the end of a zombie that woke up")


@contextmanager
def _add_worker(field: Field, _: Blow) -> Iterator[None]:
    if len(field.workers) < MOST_WORKERS:
        field.add_worker()
    yield


@contextmanager
def _retire_worker(field: Field, blow: Blow) -> Iterator[None]:
    if len(field.workers) > FEWEST_WORKERS:
        field.retire_worker(_worker(field, blow))
    yield


def _kill_trainer(field: Field, _: Blow) -> AbstractContextManager[None]:
    return _kill(field.trainer.life)


def _stop_trainer(field: Field, _: Blow) -> AbstractContextManager[None]:
    return _stop(field.trainer.life)


@contextmanager
def _freeze_trainer(field: Field, _: Blow) -> Iterator[None]:
    life = field.trainer.life
    life.send(signal.SIGSTOP)
    yield
    field.await_settled(FROZEN_RUNS)
    life.send(signal.SIGCONT)


@contextmanager
def _second_trainer(field: Field, _: Blow) -> Iterator[None]:
    """It must end with its line, and the first go on."""
    yield
    first = field.await_started_trainer()
    done = subprocess.run(
        [sys.executable, "-m", "pairstream", *field.trainer_command],
        env=field.environment, cwd=field.folder, capture_output=True, text=True, check=False,
        timeout=STOP_SECONDS,
    )  # fmt: skip
    if not first.has_ended and (done.returncode != 1 or LOCK_LINE not in done.stderr):
        raise ChaosError(f"a second trainer exited {done.returncode}: {done.stderr[-1000:]}")


@contextmanager
def _node_down(field: Field, blow: Blow, how: signal.Signals) -> Iterator[None]:
    node = field.node(blow)
    node.end(how)
    yield
    field.await_settled(HELD_RUNS)
    node.start()


def _kill_node(field: Field, blow: Blow) -> AbstractContextManager[None]:
    return _node_down(field, blow, signal.SIGKILL)


def _stop_node(field: Field, blow: Blow) -> AbstractContextManager[None]:
    return _node_down(field, blow, signal.SIGTERM)


@contextmanager
def _freeze_node(field: Field, blow: Blow) -> Iterator[None]:
    """A leader that wakes up and does not know that it was replaced."""
    node = field.node(blow)
    node.send_signal(signal.SIGSTOP)
    yield
    try:
        field.sit_out(FROZEN_SECONDS)
        field.await_settled(HELD_RUNS)
    finally:
        node.send_signal(signal.SIGCONT)


@contextmanager
def _kill_all_nodes(field: Field, _: Blow) -> Iterator[None]:
    field.nodes.kill_all()
    yield
    field.nodes.start_all()


@contextmanager
def _delete_group(field: Field, _: Blow) -> Iterator[None]:
    """Without a commit the workers begin at the start of the log, with the state of its end."""
    count = len(field.workers)
    for worker in list(field.workers):
        field.retire_worker(worker)
    field.delete_group()
    yield
    for _number in range(count):
        field.add_worker()


@contextmanager
def _cut(field: Field, _: Blow) -> Iterator[None]:
    for node in field.nodes.all:
        node.proxy.cut()
    yield


@contextmanager
def _slow(field: Field, _: Blow) -> Iterator[None]:
    for node in field.nodes.all:
        node.proxy.slow(SLOW_SECONDS)
    yield
    field.await_settled(HELD_RUNS)
    for node in field.nodes.all:
        node.proxy.slow(0)


@contextmanager
def _mute(field: Field, blow: Blow) -> Iterator[None]:
    proxy = field.node(blow).proxy
    proxy.mute()
    yield
    field.sit_out(MUTE_SECONDS)
    proxy.unmute()


@contextmanager
def _lose_answers(field: Field, _: Blow) -> Iterator[None]:
    """The broker has the records, and the client does not know."""
    proxies = [node.proxy for node in field.nodes.all]

    def lost() -> int:
        return sum(proxy.answers_lost for proxy in proxies)

    goal = lost() + ANSWERS
    for proxy in proxies:
        proxy.lose_answers(ANSWERS)
    yield
    wait_until(lambda: lost() >= goal, "the loss of answers to produce requests")
    for proxy in proxies:
        proxy.lose_answers(0)


STRIKES: dict[Kind, Strike] = {
    Kind.KILL_WORKER: _kill_worker,
    Kind.STOP_WORKER: _stop_worker,
    Kind.FREEZE_WORKER: _freeze_worker,
    Kind.ADD_WORKER: _add_worker,
    Kind.RETIRE_WORKER: _retire_worker,
    Kind.KILL_TRAINER: _kill_trainer,
    Kind.STOP_TRAINER: _stop_trainer,
    Kind.FREEZE_TRAINER: _freeze_trainer,
    Kind.SECOND_TRAINER: _second_trainer,
    Kind.KILL_NODE: _kill_node,
    Kind.STOP_NODE: _stop_node,
    Kind.FREEZE_NODE: _freeze_node,
    Kind.KILL_ALL_NODES: _kill_all_nodes,
    Kind.DELETE_GROUP: _delete_group,
    Kind.CUT: _cut,
    Kind.SLOW: _slow,
    Kind.MUTE: _mute,
    Kind.LOSE_ANSWERS: _lose_answers,
}
