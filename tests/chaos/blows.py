"""The blows: each is struck when its block begins and made good when it ends.

A block gives whether there was something to strike: what fell on nothing is no blow.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

from tests.chaos import outages
from tests.chaos.field import Field
from tests.chaos.outages import HELD_RUNS, OUTLASTING_SECONDS, Struck
from tests.chaos.schedule import Blow, Kind
from tests.chaos.supervisor import ChaosError, Supervised, wait_until

FROZEN_RUNS = 30

MOST_WORKERS, FEWEST_WORKERS = 4, 2

# A worker ends hard when its stop takes longer than 30 s.
STOP_SECONDS = 45.0
LOCK_LINE = "another trainer works on"

Strike = Callable[[Field, Blow], AbstractContextManager[bool]]


def _worker(field: Field, blow: Blow) -> Supervised:
    victims = field.victims
    return victims[blow.target % len(victims)]


@contextmanager
def _kill(process: Supervised) -> Struck:
    life = process.alive()
    yield life.send(signal.SIGKILL)
    wait_until(lambda: life.has_ended, f"the end of {life.name} after SIGKILL")


@contextmanager
def _stop(process: Supervised) -> Struck:
    life = process.alive()
    yield life.send(signal.SIGTERM)
    wait_until(
        lambda: life.has_ended, f"the end of {life.name} after SIGTERM", seconds=STOP_SECONDS
    )


@contextmanager
def _nothing() -> Struck:
    yield False


def _kill_worker(field: Field, blow: Blow) -> AbstractContextManager[bool]:
    return _kill(_worker(field, blow)) if field.victims else _nothing()


def _stop_worker(field: Field, blow: Blow) -> AbstractContextManager[bool]:
    return _stop(_worker(field, blow)) if field.victims else _nothing()


def _freeze_worker(field: Field, blow: Blow) -> AbstractContextManager[bool]:
    """Somebody must be left to do the work."""
    if len(field.victims) < FEWEST_WORKERS:
        return _nothing()
    return _frozen(field, _worker(field, blow))


@contextmanager
def _frozen(field: Field, worker: Supervised) -> Struck:
    """Until the group has given it up and others have done its work; then it must end itself."""
    life = worker.alive()
    field.await_part(life)
    since = time.monotonic()
    field.frozen.append(worker)
    try:
        freezes = life.send(signal.SIGSTOP)
        yield freezes
        field.sit_out(field.session_seconds + OUTLASTING_SECONDS, since)
        wait_until(
            lambda: life.has_ended or field.members() < len(field.workers),
            "the group's giving up on a zombie",
        )
        field.await_settled(HELD_RUNS)
    finally:
        field.frozen.remove(worker)
        life.send(signal.SIGCONT)
    if freezes:
        wait_until(lambda: life.has_ended, "the end of a zombie that woke up")
        field.wakings += 1


@contextmanager
def _add_worker(field: Field, _: Blow) -> Struck:
    adds = len(field.workers) < MOST_WORKERS
    if adds:
        field.add_worker()
    yield adds


@contextmanager
def _retire_worker(field: Field, blow: Blow) -> Struck:
    retires = len(field.victims) > FEWEST_WORKERS
    if retires:
        field.retire_worker(_worker(field, blow))
    yield retires


def _kill_trainer(field: Field, _: Blow) -> AbstractContextManager[bool]:
    return _kill(field.trainer)


def _stop_trainer(field: Field, _: Blow) -> AbstractContextManager[bool]:
    """One that stands still would not stop."""
    return _nothing() if field.trainer in field.frozen else _stop(field.trainer)


@contextmanager
def _freeze_trainer(field: Field, _: Blow) -> Struck:
    life = field.trainer.alive()
    field.frozen.append(field.trainer)
    try:
        yield life.send(signal.SIGSTOP)
        field.await_settled(FROZEN_RUNS)
    finally:
        field.frozen.remove(field.trainer)
        life.send(signal.SIGCONT)


@contextmanager
def _second_trainer(field: Field, _: Blow) -> Struck:
    """It must end with its line, and the first go on."""
    first = field.await_started_trainer()
    done = subprocess.run(
        [sys.executable, "-m", *field.trainer_command],
        env=field.environment, cwd=field.folder, capture_output=True, text=True, check=False,
        timeout=STOP_SECONDS,
    )  # fmt: skip
    if not first.has_ended and (done.returncode != 1 or LOCK_LINE not in done.stderr):
        raise ChaosError(f"a second trainer exited {done.returncode}: {done.stderr[-1000:]}")
    yield not first.has_ended


def _kill_agent(field: Field, _: Blow) -> AbstractContextManager[bool]:
    return _kill(field.agent)


@contextmanager
def _delete_group(field: Field, _: Blow) -> Struck:
    """Without a commit the workers begin at the start of the log, with the state of its end."""
    count = len(field.workers)
    field.retire_all()
    field.delete_group()
    yield True
    for _number in range(count):
        field.add_worker()


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
    Kind.KILL_AGENT: _kill_agent,
    Kind.KILL_NODE: outages.kill_node,
    Kind.STOP_NODE: outages.stop_node,
    Kind.FREEZE_NODE: outages.freeze_node,
    Kind.KILL_ALL_NODES: outages.kill_all_nodes,
    Kind.DELETE_GROUP: _delete_group,
    Kind.CUT: outages.cut,
    Kind.CUT_NODE: outages.cut_node,
    Kind.SLOW: outages.slow,
    Kind.MUTE: outages.mute,
    Kind.LOSE_ANSWERS: outages.lose_answers,
}
