"""Which pairs a dataset takes. Pure.

A pair is taken, left out for good, or waits, which makes it a candidate of the next dataset again.
The same candidates and settings give the same answer: everything goes by pair_id, a hash, and
nothing by the order of arrival.

Memory: about 300 bytes a candidate, 4 KiB where near duplicates are looked for; no text is kept.
"""

import hashlib
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal

import msgspec
import orjson

from schemas.settings import DatasetSettings

HeldOutBy = Literal["run", "task"]
Duplicates = Literal["keep", "exact", "near"]

Reason = Literal[
    "forgotten",
    "score_gap",
    "policy_age",
    "duplicate",
    "near_duplicate",
    "garbled_share",
    "agent_share",
    "task_share",
]

# What another mix of candidates may cure; the other reasons are for good.
WAITS: frozenset[Reason] = frozenset({"garbled_share", "agent_share", "task_share"})


class CutSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the settings that decide the bytes of a dataset; its manifest keeps them.

    Defaults are what a manifest of an older trainer means that does not name them.
    """

    eval_fraction: float
    held_out_by: HeldOutBy = "run"
    duplicates: Duplicates = "keep"
    min_score_gap: float = 0.0
    max_policy_age: int | None = None
    max_garbled_share: float = 1.0
    max_agent_share: float = 1.0
    max_task_share: float = 1.0

    @classmethod
    def of(cls, settings: DatasetSettings) -> "CutSettings":
        return msgspec.convert(settings, cls, from_attributes=True)

    @property
    def takes_all(self) -> bool:
        """Whether every candidate is taken, so that none need be looked at beforehand."""
        return self == CutSettings(eval_fraction=self.eval_fraction, held_out_by=self.held_out_by)


def is_held_out(key: str, fraction: float) -> bool:
    """Decide by a hash, so that a run, or a task, never stands on both sides."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def held_out_key(row: Mapping[str, Any], by: HeldOutBy) -> str:
    """What the hash is taken of; a pair that names no task goes with its run."""
    task_id: str | None = row["task_id"] if by == "task" else None
    run_id: str = row["run_id"]
    return run_id if task_id is None else task_id


def content_digest(row: Mapping[str, Any]) -> bytes:
    """The same for pairs whose prompt, chosen and rejected are the same."""
    texts = orjson.dumps([row["prompt"], row["chosen"], row["rejected"]])
    return hashlib.blake2b(texts, digest_size=16).digest()


def score_gap(row: Mapping[str, Any]) -> float | None:
    """Chosen over rejected; null where a side has no score, or the gap is no number any more."""
    chosen, rejected = row["chosen_score"], row["rejected_score"]
    if chosen is None or rejected is None:
        return None
    gap: float = chosen - rejected
    return gap if math.isfinite(gap) else None


def is_garbled(row: Mapping[str, Any]) -> bool:
    return row["garbler"] is not None


# Models are named after their dataset, and may be served below a name of the server's.
_OUR_POLICY = re.compile(r"(?:.*/)?(?:dpo|kto)-ds-([0-9]{6,12})", re.DOTALL)


def policy_number(policy_id: str | None) -> int | None:
    """That of the dataset which the policy was trained on; null for one that is no model of ours.

    Of policies nothing else tells which came first.
    """
    found = _OUR_POLICY.fullmatch(policy_id or "")
    return int(found[1]) if found else None


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """What must be known of a pair to judge it; `sketch` only where near duplicates are."""

    pair_id: str
    content: bytes
    is_garbled: bool
    score_gap: float | None
    policy: int | None
    agent_id: str | None
    task_id: str | None
    sketch: bytes | None


def candidate_of(row: Mapping[str, Any], duplicates: Duplicates) -> Candidate:
    sketch = None
    if duplicates == "near":
        from trainer.near import sketch_of  # numpy, for those alone who ask for it

        sketch = sketch_of(row)
    agent_id, task_id = row["agent_id"], row["task_id"]
    return Candidate(
        pair_id=row["pair_id"],
        content=content_digest(row),
        is_garbled=is_garbled(row),
        score_gap=score_gap(row),
        policy=policy_number(row["policy_id"]),
        # Each id is kept once, however many pairs bear it.
        agent_id=None if agent_id is None else sys.intern(agent_id),
        task_id=None if task_id is None else sys.intern(task_id),
        sketch=sketch,
    )


def select(candidates: Iterable[Candidate], settings: CutSettings) -> dict[str, Reason]:
    """Why each pair that is not taken is not, by pair_id; candidates come in its order.

    Of duplicates the first is taken. Shares hold of what is taken: the last ones of a group that is
    too large wait.
    """
    selection = _Selection(list(candidates))
    gap = settings.min_score_gap
    selection.leave("score_gap", lambda pair: pair.score_gap is not None and pair.score_gap < gap)
    if settings.max_policy_age is not None:
        selection.leave_old_policies(settings.max_policy_age)
    if settings.duplicates != "keep":
        contents: set[bytes] = set()
        selection.leave("duplicate", lambda pair: _is_again(pair.content, contents))
    if settings.duplicates == "near":
        from trainer.near import Sketches

        sketches = Sketches()
        selection.leave("near_duplicate", lambda pair: not sketches.is_new(pair.sketch or b""))
    while selection.hold_shares(settings):
        pass
    return selection.reasons


def _is_again(content: bytes, seen: set[bytes]) -> bool:
    is_again = content in seen
    seen.add(content)
    return is_again


class _Selection:
    """Candidates that are still taken, and why the others are not."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self._taken = candidates
        self.reasons: dict[str, Reason] = {}

    def leave(self, reason: Reason, is_left: Callable[[Candidate], bool]) -> None:
        kept: list[Candidate] = []
        for pair in self._taken:
            if is_left(pair):
                self.reasons[pair.pair_id] = reason
            else:
                kept.append(pair)
        self._taken = kept

    def leave_old_policies(self, most: int) -> None:
        """The newest policy of the candidates has the age 0: no clock is asked."""
        numbers = [pair.policy for pair in self._taken if pair.policy is not None]
        oldest = max(numbers, default=0) - most
        self.leave("policy_age", lambda pair: pair.policy is not None and pair.policy < oldest)

    def hold_shares(self, settings: CutSettings) -> bool:
        """Whether some have to wait for it: then the other shares are to be looked at again."""
        before = len(self._taken)
        self._hold("garbled_share", settings.max_garbled_share,
                   lambda pair: "garbled" if pair.is_garbled else None)  # fmt: skip
        self._hold("agent_share", settings.max_agent_share, lambda pair: pair.agent_id)
        self._hold("task_share", settings.max_task_share, lambda pair: pair.task_id)
        return len(self._taken) < before

    def _hold(
        self, reason: Reason, share: float, group_of: Callable[[Candidate], str | None]
    ) -> None:
        if share >= 1:
            return
        sizes = Counter(map(group_of, self._taken))
        most = largest_group(sizes, share)
        taken: Counter[str] = Counter()

        def is_too_many(pair: Candidate) -> bool:
            group = group_of(pair)
            if group is None:
                return False
            taken[group] += 1
            return taken[group] > most

        self.leave(reason, is_too_many)


def largest_group(sizes: Mapping[str | None, int], share: float) -> int:
    """How many of each group may be taken so that no group has more than the share of all taken.

    Pairs of no group are always taken. With c of each group at most, share * taken(c) - c is
    concave in c and not negative at 0: so what fits is all up to one c, found by halving.
    """
    exact = Fraction(str(share))  # 0.29 of 100 is 29, whatever a float says
    free = sizes.get(None, 0)
    groups = [size for group, size in sizes.items() if group is not None]

    def fits(most: int) -> bool:
        taken = free + sum(min(size, most) for size in groups)
        return most <= exact * taken

    low, high = 0, max(groups, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
