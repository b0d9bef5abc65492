"""Counts what a dataset is made of.

Memory while it does: a few megabytes, and the ids of agents, tasks and policies, each once; no text
is kept.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer.columns import Column
from trainer.composition import Composition, Quantiles, Shares
from trainer.selection import content_digest, is_garbled, score_gap

NAMED = 20

PERCENTILES = (0, 10, 50, 90, 100)


class _Counts(msgspec.Struct, frozen=True):
    """What of a composer is in no column."""

    garbled: int
    ids: dict[str, list[tuple[str | None, int]]]


_COUNTS = "counts.json"


class Composer:
    """Takes in rows, one after another, or what another one took in."""

    def __init__(self) -> None:
        self._garbled = 0
        self._ids: dict[str, Counter[str | None]] = {
            name: Counter() for name in ("agent_id", "task_id", "policy_id")
        }
        self._contents = Column("Q")
        self._gaps = Column("d")
        self._lengths = {side: Column("d") for side in ("prompt", "chosen", "rejected")}

    def add(self, row: Mapping[str, Any]) -> None:
        self._garbled += is_garbled(row)
        # Eight bytes of the digest: two of ten million pairs have the same by chance in three of a
        # million datasets.
        self._contents.append(int.from_bytes(content_digest(row)[:8]))
        for name, counts in self._ids.items():
            counts[row[name]] += 1
        gap = score_gap(row)
        if gap is not None:
            self._gaps.append(gap)
        for side, lengths in self._lengths.items():
            lengths.append(sum(len(message["content"]) for message in row[side]))

    def save(self, folder: Path) -> None:
        """For `absorb`, in another process."""
        for name, column in self._columns.items():
            column.save(folder / f"{name}.column")
        counts = _Counts(self._garbled, {name: list(c.items()) for name, c in self._ids.items()})
        (folder / _COUNTS).write_bytes(msgspec.json.encode(counts))

    def absorb(self, folder: Path) -> None:
        """Add what another one has saved."""
        for name, column in self._columns.items():
            column.extend(folder / f"{name}.column")
        counts = msgspec.json.decode((folder / _COUNTS).read_bytes(), type=_Counts)
        self._garbled += counts.garbled
        for name, found in counts.ids.items():
            self._ids[name].update(dict(found))

    @property
    def _columns(self) -> dict[str, Column]:
        return {"contents": self._contents, "gaps": self._gaps, **self._lengths}

    def result(self) -> Composition:
        return Composition(
            garbled=self._garbled,
            exact_duplicates=len(self._contents) - self._contents.distinct(),
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


def quantiles(values: Column) -> Quantiles | None:
    """By the nearest rank, so that each is a value that occurs."""
    if not len(values):
        return None
    return Quantiles(*(values.ranked(-(-len(values) * p // 100) - 1 if p else 0)
                       for p in PERCENTILES))  # fmt: skip
