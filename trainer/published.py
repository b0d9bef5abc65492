"""Published models, as they may be served: archived, and still what was written down of them."""

from pathlib import Path

from schemas.errors import PairstreamError
from trainer.archive import checksum_file
from trainer.datasets import file_sha256
from trainer.layout import MANIFEST
from trainer.publishing import archive_of
from trainer.training_manifest import TrainingManifest, read_training


def published_ids(models: Path) -> list[str]:
    """Trainings that succeeded and whose archive is complete, by name."""
    names = (path.parent.name for path in models.glob(f"*/{MANIFEST}") if not path.parent.is_symlink())
    return sorted(name for name in names if checksum_file(archive_of(models, name)).exists())


def verify_model(models: Path, training_id: str) -> TrainingManifest:
    """Hold the archive against its checksum, and the folder's files against the manifest.

    Raises: PairstreamError that says what is wrong; nothing damaged is to be served.
    """
    manifest = read_training(models / training_id)
    if training_id not in published_ids(models) or manifest is None:
        raise PairstreamError(f"{training_id} is no published model: see `pairstream models list`")
    packed = archive_of(models, training_id)
    told = checksum_file(packed).read_text().partition(" ")[0]
    _check(packed, told, "its .sha256 says")
    for name, digest in manifest.files.items():
        _check(models / training_id / name, digest, f"{MANIFEST} says")
    return manifest


def _check(path: Path, sha256: str, whose: str) -> None:
    if file_sha256(path) != sha256:
        raise PairstreamError(
            f"{path} is not what {whose} (SHA-256): restore it; nothing was changed"
        )
