"""Whose pairs a file of a dataset holds: counted by rule, agent, policy and run."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS


class _Row(Struct):
    """What is looked at of a pair."""

    run_id: str
    rule: str
    agent_id: str | None
    policy_id: str | None


class PairsFacts(Struct, frozen=True, kw_only=True):
    """The pairs of one side of a dataset: how many, by rule, by agent, by the policy that wrote
    the run (null ids as ""), and by run.
    """

    pairs: int
    rules: dict[str, int]
    agents: dict[str, int]
    policies: dict[str, int]
    runs: dict[str, int]


def pairs_facts(file: Path) -> PairsFacts:
    """Raises: PairstreamError when the file cannot be read."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in _Row.__struct_fields__}
    pairs = 0
    for row in _rows(file):
        pairs += 1
        for name, counter in counts.items():
            counter[getattr(row, name) or ""] += 1
    return PairsFacts(
        pairs=pairs,
        rules=_sorted(counts["rule"]),
        agents=_sorted(counts["agent_id"]),
        policies=_sorted(counts["policy_id"]),
        runs=_sorted(counts["run_id"]),
    )


def _rows(file: Path) -> Iterator[_Row]:
    decoder = msgspec.json.Decoder(_Row)
    try:
        with file.open("rb") as lines:
            for line in lines:
                yield decoder.decode(line)
    except (OSError, *JSON_ERRORS) as error:
        raise PairstreamError(f"{file} cannot be read ({error}): restore it") from error


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
