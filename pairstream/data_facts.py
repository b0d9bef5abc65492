"""What a data directory holds: segments, datasets, trainings. Reads only; the trainer may run."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import fields

from schemas.errors import PairstreamError
from schemas.rows import Pair
from schemas.source import Source
from trainer.datasets import DatasetManifest, read_manifest, uncut
from trainer.forgotten import forgotten_runs
from trainer.latest import read_latest
from trainer.layout import DataDir
from trainer.left_out import waiting_ids
from trainer.new_pairs import NewPairs
from trainer.segments import Segment, list_segments, next_offsets
from trainer.selection import WAITS, CutSettings, Reason, candidate_of, select
from trainer.source import read_source

_FIELDS = frozenset(field.name for field in fields(Pair) if field.required)


class DatasetFacts(Struct, frozen=True):
    """One published dataset."""

    name: str
    created_at: datetime
    pairs: int
    runs: int
    rules: dict[str, int]


class DataFacts(Struct, frozen=True, kw_only=True):
    """One data directory.

    `new_pairs` are in segments that no cut has looked at yet, but for forgotten ones, `new_rules`
    says of which rules;
    `waiting` are left out of the newest dataset and candidates of the next one, by reason;
    `positions` is the trainer's true position by partition, in the topic that `source` names.
    """

    path: str
    exists: bool
    source: Source | None
    positions: dict[int, int]
    new_pairs: int
    new_rules: dict[str, int]
    waiting: dict[Reason, int]
    datasets: list[DatasetFacts]
    latest: str | None


def read_data_facts(data: DataDir) -> DataFacts:
    """Everything that `status` shows of it, datasets oldest first.

    Raises: PairstreamError that names the file which is damaged.
    """
    manifests = [read_manifest(data.datasets / name) for name in data.dataset_names()]
    segments = list_segments(data.segments)
    waiting = uncut(segments, manifests[-1] if manifests else None)
    rules = _rules(data, waiting)
    return DataFacts(
        path=str(data.root),
        exists=data.root.is_dir(),
        source=read_source(data).source if data.source.exists() else None,
        positions=next_offsets(segments),
        new_pairs=sum(rules.values()),
        new_rules=rules,
        waiting=_waiting(manifests[-1]) if manifests else {},
        datasets=[_dataset_facts(manifest) for manifest in manifests],
        latest=read_latest(data.models),
    )


def read_new_pairs(data: DataDir, wanted_tasks: int) -> NewPairs:
    """What the trigger's policies look at, as far as closed segments tell."""
    names = data.dataset_names()
    newest = read_manifest(data.datasets / names[-1]) if names else None
    found = NewPairs(wanted_tasks)
    for segment in uncut(list_segments(data.segments), newest):
        found.read_segment(data.segments, segment)
    return found


def _dataset_facts(manifest: DatasetManifest) -> DatasetFacts:
    return DatasetFacts(
        manifest.name, manifest.created_at, manifest.pairs, manifest.runs, manifest.rules
    )


def _rules(data: DataDir, segments: list[Segment]) -> dict[str, int]:
    rules: Counter[str] = Counter()
    forgotten = forgotten_runs(data)
    for segment in segments:
        rules.update(row["rule"] for row in _rows(data, segment) if row["run_id"] not in forgotten)
    return dict(sorted(rules.items()))


def _rows(data: DataDir, segment: Segment) -> Iterator[dict[str, Any]]:
    """Raises: PairstreamError that names the file."""
    path = data.segments / segment.path
    try:
        with path.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                if not isinstance(row, dict) or not row.keys() >= _FIELDS:
                    raise ValueError("a line of it is no pair")
                yield row
    except (OSError, ValueError) as error:
        raise PairstreamError(f"{path} cannot be read ({error}): restore it") from error


def _waiting(newest: DatasetManifest) -> dict[Reason, int]:
    return {reason: pairs for reason, pairs in newest.left_out.items() if reason in WAITS}


def held_back(data: DataDir, settings: CutSettings) -> dict[Reason, int]:
    """Why a cut now would take no pair, with counts; empty where it would take some."""
    names = data.dataset_names()
    newest = read_manifest(data.datasets / names[-1]) if names else None
    again = waiting_ids(data.datasets / names[-1], newest) if newest else frozenset()
    segments = list_segments(data.segments)
    new = set(uncut(segments, newest))
    forgotten = forgotten_runs(data)
    candidates = [
        candidate_of(row, settings.duplicates)
        for segment in (segments if again else new)
        for row in _rows(data, segment)
        if (segment in new or row["pair_id"] in again) and row["run_id"] not in forgotten
    ]
    candidates.sort(key=lambda candidate: candidate.pair_id)
    reasons = select(candidates, settings)
    return dict(Counter(reasons.values())) if len(reasons) == len(candidates) else {}
