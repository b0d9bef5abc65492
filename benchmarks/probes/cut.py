"""Cuts what stands in no dataset, and forgets that it did: `... cut FOLDER`."""

import json
import os
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks.machine import peak_memory
from pairstream.logs import set_up_logs
from schemas.memory import keep_small
from schemas.settings import TrainerSettings
from schemas.source import Source
from trainer.intake import Intake
from trainer.layout import DataDir

PARTITIONS = 4
SOURCE = Source("cluster", "pairs", "topic-id", PARTITIONS)


def open_intake(root: Path) -> Intake:
    set_up_logs()
    settings = TrainerSettings(data_dir=root)
    return Intake(DataDir(root), settings, SOURCE, dict.fromkeys(range(PARTITIONS), 0))


def main(root: Path) -> None:
    keep_small()
    with closing(open_intake(root)) as intake:
        begun = time.monotonic()
        manifest = intake.cut()
        seconds = time.monotonic() - begun
    assert manifest is not None, "nothing is left out"
    peak = peak_memory(os.getpid())
    shutil.rmtree(DataDir(root).datasets)
    print(json.dumps({"pairs": manifest.pairs, "seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
