"""Trained models by their files: what their manifests and checksums say. Reads only, in pieces;
the trainer may run.

A training without its manifest has not ended, an archive without its checksum is not complete yet.
"""

import hashlib
from pathlib import Path

from pairstream.verify.report import Check
from schemas.errors import PairstreamError
from trainer.archive import checksum_file
from trainer.layout import MANIFEST, open_to_read
from trainer.publishing import archive_of
from trainer.training_manifest import read_training

SHA256_CHARACTERS = 64


def check_models(check: Check, models: Path) -> None:
    """Manifests that cannot be read are no matter of this check."""
    for path in sorted(models.iterdir()) if models.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            _check_folder(check, path)
            _check_archive(check, archive_of(models, path.name), id=path.name)


def _check_folder(check: Check, folder: Path) -> None:
    try:
        manifest = read_training(folder)
    except PairstreamError:
        return
    for name, sha256 in manifest.files.items() if manifest else ():
        _check_file(check, folder / name, sha256, whose=MANIFEST, id=folder.name)


def _check_archive(check: Check, packed: Path, *, id: str) -> None:
    checksum = checksum_file(packed)
    try:
        with open_to_read(checksum) as file:
            sha256 = file.read(SHA256_CHARACTERS).decode(errors="replace")
    except FileNotFoundError:
        return
    _check_file(check, packed, sha256, whose=checksum.name, id=id)


def _check_file(check: Check, path: Path, sha256: str, *, whose: str, id: str) -> None:
    check.checked += 1
    try:
        with open_to_read(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        check.found(f"cannot be read ({error.strerror})", id=id, at=str(path))
        return
    if digest != sha256:
        check.found(f"not what {whose} says (SHA-256)", id=id, at=str(path))
