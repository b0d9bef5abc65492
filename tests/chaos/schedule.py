"""Which blow falls when: a function of the seed alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Everything that may happen to a deployment."""

    KILL_WORKER = "kill_worker"
    STOP_WORKER = "stop_worker"
    FREEZE_WORKER = "freeze_worker"
    ADD_WORKER = "add_worker"
    RETIRE_WORKER = "retire_worker"
    KILL_TRAINER = "kill_trainer"
    STOP_TRAINER = "stop_trainer"
    FREEZE_TRAINER = "freeze_trainer"
    SECOND_TRAINER = "second_trainer"
    KILL_NODE = "kill_node"
    STOP_NODE = "stop_node"
    FREEZE_NODE = "freeze_node"
    KILL_ALL_NODES = "kill_all_nodes"
    DELETE_GROUP = "delete_group"
    CUT = "cut"
    SLOW = "slow"
    MUTE = "mute"
    LOSE_ANSWERS = "lose_answers"


# May fall while another blow lasts: they need nothing that the other may have taken away.
COMPANIONS = (Kind.KILL_WORKER, Kind.STOP_WORKER, Kind.KILL_TRAINER, Kind.CUT)

# These lay hands on all workers, or need a calm cluster.
ALONE = (Kind.DELETE_GROUP, Kind.SECOND_TRAINER)

COMPANY = 0.4
HASTE = 0.3
TARGETS = 60


@dataclass(frozen=True)
class Blow:
    """`target` numbers the victim, to be taken modulo how many there are."""

    kind: Kind
    target: int


@dataclass(frozen=True)
class Round:
    """A blow, and one that may fall while it lasts; `is_hasty`: the next one does not wait until
    every partition has recovered.
    """

    first: Blow
    second: Blow | None
    is_hasty: bool


def rounds(seed: int, kinds: Sequence[Kind] = tuple(Kind)) -> Iterator[Round]:
    """Without an end; every kind comes once before one comes again."""
    rng = random.Random(seed)
    kinds = list(kinds)
    while True:
        rng.shuffle(kinds)
        for kind in kinds:
            first = Blow(kind, rng.randrange(TARGETS))
            others = [each for each in COMPANIONS if each is not kind]
            companion = Blow(rng.choice(others), rng.randrange(TARGETS))
            has_company = rng.random() < COMPANY and kind not in ALONE
            is_hasty = rng.random() < HASTE
            yield Round(first, companion if has_company else None, is_hasty)
