"""A folder of one released version: state, data directory, and what that version made of them."""

import base64
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson

from schemas.rows import SettledBy
from streams.partition import Partition
from streams.state import SOURCE_KEY
from tests.commands.deployment import finished

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
STATE, EXPECTED = "state.jsonl", "expected.json"

# It has two events in the state, and nothing says that it is settled.
OPEN_RUN = "o-1"

Records = dict[bytes, tuple[bytes, int]]


def state_of(folder: Path) -> dict[int, Records]:
    """The newest value and time of each key, by partition, as compaction leaves them."""
    state: defaultdict[int, Records] = defaultdict(dict)
    for line in map(orjson.loads, (folder / STATE).read_bytes().splitlines()):
        key = base64.b64decode(line["key"])
        records = state[line["partition"]]
        if line["value"] is None:
            records.pop(key, None)
        else:
            records[key] = (base64.b64decode(line["value"]), line["written_ms"])
    return state


def restored(folder: Path) -> list[Partition]:
    """Each partition, as a worker takes it over."""
    partitions = []
    for records in state_of(folder).values():
        runs = Partition(extended=False)
        runs.restore((key, value, ms) for key, (value, ms) in records.items() if key != SOURCE_KEY)
        partitions.append(runs)
    return partitions


def open_and_settled(folder: Path) -> tuple[dict[str, int], dict[str, SettledBy]]:
    """Counts of events of the open runs, and by what the others were settled."""
    partitions = restored(folder)
    opened = {run_id: run.count for runs in partitions for run_id, run in runs.open.items()}
    settled = {
        run_id: marker.settled_by
        for runs in partitions
        for run_id, (marker, _) in runs.settled.items()
    }
    return dict(sorted(opened.items())), dict(sorted(settled.items()))


def finish_open_run(folder: Path) -> list[Any]:
    """Topic and row of all that the open run gives once it is finished."""
    [runs] = [runs for runs in restored(folder) if OPEN_RUN in runs.open]
    event = json.dumps(finished(OPEN_RUN)).encode()
    effects = runs.apply([(OPEN_RUN.encode(), event, 1_000_000)], now_ms=0)
    return [[topic.name, orjson.loads(value)] for topic, _, value in effects.rows]
