"""What a dataset is made of, so that it can be judged without reading it. Pure.

Memory: about 150 bytes a pair while it is counted; no text is kept.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from trainer.selection import content_digest, is_garbled, score_gap

NAMED = 20

PERCENTILES = (0, 10, 50, 90, 100)


class Quantiles(msgspec.Struct, frozen=True):
    """Values that stand at these places when all are sorted."""

    min: float
    p10: float
    median: float
    p90: float
    max: float


class Shares(msgspec.Struct, frozen=True):
    """Pairs by the most frequent ids, of all the `others`, and of those that name none."""

    named: dict[str, int]
    others: int
    none: int


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one dataset's pairs, on both sides.

    `exact_duplicates` are pairs with the prompt, chosen and rejected of another one, which is not
    counted itself. `score_gap` is of pairs with a score on either side. Lengths are characters of
    all messages. Null where there is nothing to measure.
    """

    garbled: int
    exact_duplicates: int
    agents: Shares
    tasks: Shares
    policies: Shares
    score_gap: Quantiles | None
    prompt_length: Quantiles | None
    chosen_length: Quantiles | None
    rejected_length: Quantiles | None


class Composer:
    """Takes in rows, one after another."""

    def __init__(self) -> None:
        self._garbled = self._duplicates = 0
        self._contents: set[bytes] = set()
        self._ids: dict[str, Counter[str | None]] = {
            name: Counter() for name in ("agent_id", "task_id", "policy_id")
        }
        self._gaps = array("d")
        self._lengths = {side: array("d") for side in ("prompt", "chosen", "rejected")}

    def add(self, row: Mapping[str, Any]) -> None:
        self._garbled += is_garbled(row)
        content = content_digest(row)
        self._duplicates += content in self._contents
        self._contents.add(content)
        for name, counts in self._ids.items():
            counts[row[name]] += 1
        gap = score_gap(row)
        if gap is not None:
            self._gaps.append(gap)
        for side, lengths in self._lengths.items():
            lengths.append(sum(len(message["content"]) for message in row[side]))

    def result(self) -> Composition:
        return Composition(
            garbled=self._garbled,
            exact_duplicates=self._duplicates,
            agents=shares(self._ids["agent_id"]),
            tasks=shares(self._ids["task_id"]),
            policies=shares(self._ids["policy_id"]),
            score_gap=quantiles(self._gaps),
            prompt_length=quantiles(self._lengths["prompt"]),
            chosen_length=quantiles(self._lengths["chosen"]),
            rejected_length=quantiles(self._lengths["rejected"]),
        )


def composition_of(rows: Iterable[Mapping[str, Any]]) -> Composition:
    composer = Composer()
    for row in rows:
        composer.add(row)
    return composer.result()


def shares(counts: Counter[str | None]) -> Shares:
    """The most frequent ones first, ties in the order of their names."""
    none = counts.get(None, 0)
    found = [(name, number) for name, number in counts.items() if name is not None]
    found.sort(key=lambda item: (-item[1], item[0]))
    named, others = found[:NAMED], found[NAMED:]
    return Shares(dict(named), sum(number for _, number in others), none)


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """By the nearest rank, so that each is a value that occurs."""
    if not values:
        return None
    ordered = sorted(values)
    return Quantiles(*(ordered[-(-len(ordered) * p // 100) - 1 if p else 0] for p in PERCENTILES))
