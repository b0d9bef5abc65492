"""A data directory with so many pairs that stand in no dataset: `... prepare_cut FOLDER PAIRS`."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

from benchmarks.batches import batches
from benchmarks.load import Load
from benchmarks.probes.cut import PARTITIONS, open_intake
from benchmarks.replay import pairs_of
from schemas.dead_letters import Origin
from trainer.intake import Record

BATCH = 2000
# More than so many pairs need.
EVENTS_A_PAIR = 4


def main(root: Path, pairs: int) -> None:
    with closing(open_intake(root)) as intake:
        for batch in batches(islice(_records(pairs), pairs), BATCH):
            intake.take(batch, _never)
            if intake.is_due():
                intake.close_segments()
        intake.close_segments()
        print(json.dumps(intake.new_pairs))


def _records(pairs: int) -> Iterator[Record]:
    for place, (key, value) in zip(count(), pairs_of(Load(pairs * EVENTS_A_PAIR)), strict=False):
        offset, partition = divmod(place, PARTITIONS)
        yield Origin("pairs", partition, offset), key, [], value


def _never(*refused: object) -> None:
    raise RuntimeError(f"a pair of the load was refused: {refused[-1]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
