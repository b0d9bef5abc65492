"""Published models, as they may be served: archived, and still what was written down of them."""

from pathlib import Path

from schemas.errors import PairstreamError
from trainer.archive import checksum_file, told_checksum
from trainer.datasets import file_sha256
from trainer.layout import MANIFEST
from trainer.publishing import archive_of
from trainer.training_manifest import TrainingManifest


def verify_model(models: Path, manifest: TrainingManifest) -> None:
    """Hold the archive against its checksum, and the folder's files against the manifest.

    Raises: PairstreamError that says what is wrong; nothing damaged is to be served.
    """
    training_id = manifest.training_id
    packed = archive_of(models, training_id)
    if not checksum_file(packed).exists():
        raise PairstreamError(
            f"{training_id} is not published yet: {packed.name} has no .sha256 beside it"
        )
    _check(packed, told_checksum(packed), "its .sha256 says")
    for name, digest in manifest.files.items():
        _check(models / training_id / name, digest, f"{MANIFEST} says")


def _check(path: Path, sha256: str, whose: str) -> None:
    if file_sha256(path) != sha256:
        raise PairstreamError(
            f"{path} is not what {whose} (SHA-256): restore it; nothing was changed"
        )
