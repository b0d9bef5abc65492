"""`left-out.jsonl`: which candidates a dataset did not take, and why. It stands there only when
there are any, in the order of pair_id.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from schemas.errors import PairstreamError
from trainer.datasets import LEFT_OUT, DatasetManifest, file_sha256
from trainer.selection import Reason


class LeftOut(msgspec.Struct, frozen=True):
    """One candidate; where it `waits`, it is one of the next dataset again."""

    pair_id: str
    reason: Reason
    waits: bool


_decoder = msgspec.json.Decoder(LeftOut)


def left_out_line(left: LeftOut) -> bytes:
    return msgspec.json.encode(left) + b"\n"


def read_left_out(dataset: Path, manifest: DatasetManifest) -> Iterator[LeftOut]:
    """Raises: PairstreamError when the file is not what the manifest says."""
    entry = manifest.files.get(LEFT_OUT)
    if entry is None:
        return
    path = dataset / LEFT_OUT
    if file_sha256(path) != entry.sha256:
        raise PairstreamError(
            f"{path} is not what its manifest says (SHA-256): restore it; which pairs wait for the "
            "next dataset stands nowhere else"
        )
    with path.open("rb") as lines:
        for line in lines:
            yield _decoder.decode(line)


def waiting_ids(dataset: Path, manifest: DatasetManifest) -> frozenset[str]:
    """Pairs that are candidates of the next dataset again. Raises: as `read_left_out`."""
    return frozenset(left.pair_id for left in read_left_out(dataset, manifest) if left.waits)
