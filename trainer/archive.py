"""Archives of trained models: the same files give the same bytes."""

import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

from schemas.crash_points import crash_point
from trainer.layout import sync_folder, write_durably


def archive(folder: Path, names: Iterable[str], target: Path) -> str:
    """Write `target` (tar.gz) with what of `names` is in `folder`, and its SHA-256 beside it.

    The checksum file is in the form of `sha256sum` and comes last: with it, the archive is
    complete. Returns: the SHA-256.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    with temporary.open("wb") as file:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in files_in(folder, names):
                _add(tar, path, f"{folder.name}/{path.relative_to(folder)}")
        file.flush()
        os.fsync(file.fileno())
    with temporary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    crash_point("training.archive_written")
    temporary.replace(target)
    sync_folder(target.parent)
    crash_point("training.archive_renamed")
    write_durably(checksum_file(target), f"{digest}  {target.name}\n".encode())
    return digest


def checksum_file(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def told_checksum(target: Path) -> str:
    """The SHA-256 that stands beside a complete archive."""
    return checksum_file(target).read_text().partition(" ")[0]


def files_in(folder: Path, names: Iterable[str]) -> list[Path]:
    """What of `names` is in the folder, and all below it; no links, which may lead anywhere."""
    roots = [folder / name for name in names if not (folder / name).is_symlink()]
    paths = {path for root in roots for path in (root, *root.rglob("*"))}
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    info.mode = 0o644
    with path.open("rb") as content:
        tar.addfile(info, content)
