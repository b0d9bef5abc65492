"""`python -m tests.formats.write`: what this version writes, for later ones to read.

Run it once when a version is released, into a folder of that version, which is never changed after.
"""

import base64
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import orjson

from streams.broker import EmbeddedBroker
from tests.formats.folder import (
    EXPECTED,
    FORMATS,
    OPEN_RUN,
    STATE,
    finish_open_run,
    open_and_settled,
)
from tests.verify.healthy import Damageable, live_through
from trainer.index import PairIndex
from trainer.segments import list_segments


def write(folder: Path) -> None:
    """Raises: FileExistsError where the version has been written before."""
    folder.mkdir(parents=True)
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as place:
        deployment = Damageable(broker.bootstrap_servers, "", Path(place) / "data")
        live_through(deployment)
        index = PairIndex(deployment.data.index)
        index.catch_up(deployment.data.segments, list_segments(deployment.data.segments))
        index.close()
        state = [
            {
                "partition": record.partition(),
                "key": base64.b64encode(record.key() or b"").decode(),
                "value": record.value() and base64.b64encode(record.value() or b"").decode(),
                "written_ms": record.timestamp()[1],
            }
            for record in deployment.records(deployment.names.state_changelog)
        ]
        (folder / STATE).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in state))
        shutil.copytree(deployment.data.root, folder / "data", symlinks=True)
    open_runs, settled = open_and_settled(folder)
    expected = {
        "open": open_runs,
        "settled": settled,
        f"rows of {OPEN_RUN}, finished": finish_open_run(folder),
    }
    (folder / EXPECTED).write_bytes(orjson.dumps(expected, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    target = FORMATS / version("pairstream")
    write(target)
    sys.stdout.write(f"{target}\n")
