"""Datasets of scored rows, for what trains without pairs: labelled responses, and groups.

Guarantee: as of pairs, the same rows and settings give the same bytes, whatever the order in which
the rows came.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import orjson
from msgspec import Struct

from schemas.events import Message
from schemas.rows import ScoredRow, ScoredRowKind, encode
from trainer.columns import Column
from trainer.content import Content, DatasetFile, finish_sides
from trainer.datasets import EVAL, ID_END, LINE_START, TRAIN, DatasetKind
from trainer.selection import CutSettings, held_out_key, is_held_out

GROUP_START = b'{"group_id":"'

_ID = 32
_ROW = len(b'{"row_id":"')
_GROUP = len(GROUP_START)

# Where in a line the id stands by which lines are sorted, and under which each stands once. That of
# a group's member goes on to the id of its row.
ID_PLACES: dict[DatasetKind, slice] = {
    "pairs": slice(len(LINE_START), ID_END),
    "kto": slice(_ROW, _ROW + _ID),
    "groups": slice(_GROUP, _GROUP + _ID + len(b'","row_id":"') + _ID),
}

Row = dict[str, Any]


class UnpairedRow(Struct, frozen=True, gc=False):
    """A row as TRL's KTOTrainer takes it; `label` says whether the response is a good one."""

    row_id: str
    run_id: str
    strategy_id: str
    kind: ScoredRowKind
    attempt: int | None
    prompt: list[Message]
    completion: list[Message]
    label: bool
    score: float
    agent_id: str | None
    task_id: str | None
    policy_id: str | None


class Group(Struct, frozen=True, gc=False):
    """The responses of one side to one prompt, in the order of row_id, and what each achieved."""

    group_id: str
    prompt: list[Message]
    responses: list[list[Message]]
    scores: list[float]
    row_ids: list[str]
    run_ids: list[str]
    policy_ids: list[str | None]


def labelled_line(row: ScoredRow) -> bytes:
    """A score above 0 is a success, and nothing else is."""
    return (
        msgspec.json.encode(
            UnpairedRow(
                row_id=row.row_id,
                run_id=row.run_id,
                strategy_id=row.strategy_id,
                kind=row.kind,
                attempt=row.attempt,
                prompt=row.prompt,
                completion=row.response,
                label=row.score > 0,
                score=row.score,
                agent_id=row.agent_id,
                task_id=row.task_id,
                policy_id=row.policy_id,
            )
        )
        + b"\n"
    )


def member_line(row: ScoredRow) -> bytes:
    """The row under the id of its prompt, by which its group comes together."""
    digest = hashlib.sha256(msgspec.json.encode(row.prompt)).hexdigest()[:_ID]
    return GROUP_START + digest.encode() + b'",' + encode(row)[1:] + b"\n"


LINE_OF: dict[DatasetKind, Callable[[ScoredRow], bytes]] = {
    "kto": labelled_line, "groups": member_line
}  # fmt: skip


class _Sides:
    """Both files as they grow, and what is counted on the way."""

    def __init__(self, folder: Path, settings: CutSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._files = {name: DatasetFile(folder / name) for name in (TRAIN, EVAL)}
        self._runs = Column("Q")
        self._kinds = Counter[str]()

    def side_of(self, row: Row) -> str:
        """Counts the row, too."""
        self._kinds[row["kind"]] += 1
        digest = hashlib.sha256(row["run_id"].encode()).digest()
        self._runs.append(int.from_bytes(digest[:8]))
        key = held_out_key(row, self._settings.held_out_by)
        return EVAL if is_held_out(key, self._settings.eval_fraction) else TRAIN

    def add(self, side: str, line: bytes) -> None:
        self._files[side].add(line)

    def finish(self) -> Content:
        return Content(
            files=finish_sides(self._folder, self._files),
            runs=self._runs.distinct(),
            rules=dict(sorted(self._kinds.items())),
        )


def write_labelled(folder: Path, lines: Iterable[bytes], settings: CutSettings) -> Content:
    """Split labelled lines, which come in the order of row_id."""
    sides = _Sides(folder, settings)
    for line in lines:
        sides.add(sides.side_of(orjson.loads(line)), line)
    return sides.finish()


def write_groups(folder: Path, lines: Iterable[bytes], settings: CutSettings) -> Content:
    """Put members, which come in the order of group_id and row_id, together by prompt and side.

    Memory: one group.
    """
    sides = _Sides(folder, settings)
    for group_id, members in groupby(map(orjson.loads, lines), lambda row: row["group_id"]):
        rows: dict[str, list[Row]] = {TRAIN: [], EVAL: []}
        for row in members:
            rows[sides.side_of(row)].append(row)
        for side, of_side in rows.items():
            if of_side:
                sides.add(side, msgspec.json.encode(_group(group_id, of_side)) + b"\n")
    return sides.finish()


def _group(group_id: str, rows: list[Row]) -> Group:
    def each(name: str) -> list[Any]:
        return [row[name] for row in rows]

    return Group(
        group_id=group_id,
        prompt=rows[0]["prompt"],
        responses=each("response"),
        scores=each("score"),
        row_ids=each("row_id"),
        run_ids=each("run_id"),
        policy_ids=each("policy_id"),
    )
