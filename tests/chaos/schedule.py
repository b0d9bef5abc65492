"""Which blow falls when: a function of the seed alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Everything that may happen to a deployment.

    Workers keep nothing on disk: one that was killed, or that was added, comes back with nothing,
    which is what a wiped state directory would be elsewhere.
    """

    KILL_WORKER = "kill_worker"
    STOP_WORKER = "stop_worker"
    FREEZE_WORKER = "freeze_worker"
    ADD_WORKER = "add_worker"
    RETIRE_WORKER = "retire_worker"
    KILL_TRAINER = "kill_trainer"
    STOP_TRAINER = "stop_trainer"
    FREEZE_TRAINER = "freeze_trainer"
    SECOND_TRAINER = "second_trainer"
    KILL_AGENT = "kill_agent"
    KILL_NODE = "kill_node"
    STOP_NODE = "stop_node"
    FREEZE_NODE = "freeze_node"
    KILL_ALL_NODES = "kill_all_nodes"
    DELETE_GROUP = "delete_group"
    CUT = "cut"
    CUT_NODE = "cut_node"
    SLOW = "slow"
    MUTE = "mute"
    LOSE_ANSWERS = "lose_answers"


# May fall while another blow lasts: they need nothing that the other may have taken away.
COMPANIONS = (
    Kind.KILL_WORKER,
    Kind.STOP_WORKER,
    Kind.FREEZE_WORKER,
    Kind.KILL_TRAINER,
    Kind.STOP_TRAINER,
    Kind.KILL_AGENT,
    Kind.CUT,
    Kind.CUT_NODE,
)
WEIGHTS = (3, 2, 1, 2, 1, 3, 3, 3)

# These lay hands on all workers, or need a calm cluster.
ALONE = (Kind.DELETE_GROUP, Kind.SECOND_TRAINER)

# A freeze waits for other workers' progress, which the whole cluster's death takes away.
UNFROZEN = (Kind.KILL_ALL_NODES,)

# How likely a round has one blow, two, or three.
COMPANY = (1, 2, 7)
HASTE = 0.6
TARGETS = 60


@dataclass(frozen=True)
class Blow:
    """`target` numbers the victim, to be taken modulo how many there are."""

    kind: Kind
    target: int


@dataclass(frozen=True)
class Round:
    """A blow, and others that fall while it lasts; `is_hasty`: the next round does not wait until
    every partition has recovered.
    """

    blows: tuple[Blow, ...]
    is_hasty: bool

    @property
    def names(self) -> str:
        return " + ".join(blow.kind for blow in self.blows)


def rounds(seed: int, kinds: Sequence[Kind] = tuple(Kind)) -> Iterator[Round]:
    """Without an end; every kind comes once as a first blow before one comes again.

    What falls meanwhile is of `kinds` as well.
    """
    rng = random.Random(seed)
    kinds = list(kinds)
    while True:
        rng.shuffle(kinds)
        for kind in list(kinds):
            blows = [Blow(kind, rng.randrange(TARGETS))]
            for _ in range(rng.choices(range(len(COMPANY)), COMPANY)[0]):
                blows += _companion(rng, blows, kinds)
            yield Round(tuple(blows), rng.random() < HASTE)


def _companion(rng: random.Random, blows: Sequence[Blow], kinds: Sequence[Kind]) -> list[Blow]:
    """None for a blow that falls alone; nothing falls twice, unless there is one kind only."""
    first = blows[0]
    if first.kind in ALONE:
        return []
    fallen = {blow.kind for blow in blows} if len(kinds) > 1 else set[Kind]()
    weights = {
        kind: weight
        for kind, weight in zip(COMPANIONS, WEIGHTS, strict=True)
        if kind in kinds and kind not in fallen
        if not (kind is Kind.FREEZE_WORKER and first.kind in UNFROZEN)
    }
    if not weights:
        return []
    kind = rng.choices(list(weights), list(weights.values()))[0]
    # Beside each other, where there is but one kind: of two workers in turn.
    target = blows[-1].target + 1 if kind is blows[-1].kind else rng.randrange(TARGETS)
    return [Blow(kind, target)]
