"""What is in one dataset and not in the other. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import orjson

from trainer.datasets import pair_id_of
from trainer.selection import CutSettings


class RuleDifference(msgspec.Struct):
    """Pairs of one rule that stand in `a` alone, in `b` alone, or in both."""

    only_a: int = 0
    only_b: int = 0
    both: int = 0


class DifferentIds(msgspec.Struct, frozen=True):
    """Ids in order; `changed` stand in both, with other bytes."""

    only_a: list[str]
    only_b: list[str]
    changed: list[str]


class DatasetDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Of the datasets named `a` and `b`.

    `changed` of those in both differ in their bytes; `settings` has a's and b's value of each that
    differs; `ids` is null unless it was asked for.
    """

    a: str
    b: str
    only_a: int
    only_b: int
    both: int
    changed: int
    rules: dict[str, RuleDifference]
    settings: dict[str, tuple[Any, Any]]
    ids: DifferentIds | None


class Comparison:
    """Lines of two datasets, each in the order of pair_id."""

    def __init__(self, *, keep_ids: bool) -> None:
        self.rules: dict[str, RuleDifference] = {}
        self.changed = 0
        self.ids = DifferentIds([], [], []) if keep_ids else None

    def add(self, a: bytes | None, b: bytes | None) -> None:
        """The line of one pair in either, null where it is not there."""
        row = orjson.loads(a if a is not None else b or b"")
        rule = self.rules.setdefault(row["rule"], RuleDifference())
        rule.only_a += b is None
        rule.only_b += a is None
        rule.both += a is not None and b is not None
        is_changed = a is not None and b is not None and a != b
        self.changed += is_changed
        if self.ids is not None:
            if b is None:
                self.ids.only_a.append(row["pair_id"])
            elif a is None:
                self.ids.only_b.append(row["pair_id"])
            elif is_changed:
                self.ids.changed.append(row["pair_id"])

    def result(self, names: tuple[str, str], a: CutSettings, b: CutSettings) -> DatasetDiff:
        rules = dict(sorted(self.rules.items()))
        return DatasetDiff(
            a=names[0],
            b=names[1],
            only_a=sum(rule.only_a for rule in rules.values()),
            only_b=sum(rule.only_b for rule in rules.values()),
            both=sum(rule.both for rule in rules.values()),
            changed=self.changed,
            rules=rules,
            settings=different_settings(a, b),
            ids=self.ids,
        )


def different_settings(a: CutSettings, b: CutSettings) -> dict[str, tuple[Any, Any]]:
    values_a, values_b = msgspec.structs.asdict(a), msgspec.structs.asdict(b)
    return {
        name: (value, values_b[name]) for name, value in values_a.items() if value != values_b[name]
    }


def side_by_side(
    a: Iterable[bytes], b: Iterable[bytes]
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """The lines of one pair together; both come in the order of pair_id."""
    rest_a, rest_b = iter(a), iter(b)
    line_a, line_b = next(rest_a, None), next(rest_b, None)
    while line_a is not None or line_b is not None:
        id_a, id_b = _id(line_a), _id(line_b)
        yield (line_a if id_a <= id_b else None), (line_b if id_b <= id_a else None)
        if id_a <= id_b:
            line_a = next(rest_a, None)
        if id_b <= id_a:
            line_b = next(rest_b, None)


# Behind every id, which are hexadecimal digits.
_END = "~"


def _id(line: bytes | None) -> str:
    return _END if line is None else pair_id_of(line)
