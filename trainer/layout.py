"""Where everything lies in the data directory. Contract, section 5, and the trainer's own files."""

import errno
import fcntl
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

MANIFEST = "manifest.json"

READ_ONLY = 0o444

_DATASET = re.compile(r"ds-(\d{6,})")


@dataclass(frozen=True)
class DataDir:
    """The paths of one data directory, which one trainer owns (`lock`)."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "LOCK"

    @property
    def source(self) -> Path:
        """What the positions are positions of, and this directory's id."""
        return self.root / "source.json"

    @property
    def early_id(self) -> Path:
        """Its id where something was trained here before a trainer came."""
        return self.root / "directory-id"

    @property
    def segments(self) -> Path:
        return self.root / "segments"

    @property
    def index(self) -> Path:
        return self.root / "index.sqlite"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def reproductions(self) -> Path:
        """Trainings that were run again, by the name of the first one and their number."""
        return self.root / "reproductions"

    @property
    def forgotten(self) -> Path:
        """Runs that nothing new may take."""
        return self.root / "forgotten.jsonl"

    @property
    def training_venv(self) -> Path:
        return self.root / "training-venv"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those whose content is its trainer's alone."""
        return (
            self.segments,
            self.datasets,
            self.models,
            self.reproductions,
            self.training_venv,
        )

    def dataset_names(self) -> list[str]:
        """Published datasets, oldest first: a folder without a manifest is none."""
        names = (path.parent.name for path in self.datasets.glob(f"ds-*/{MANIFEST}"))
        return sorted((name for name in names if _DATASET.fullmatch(name)), key=_number)

    def next_dataset_name(self) -> str:
        names = self.dataset_names()
        return f"ds-{(_number(names[-1]) if names else 0) + 1:06d}"


def _number(dataset: str) -> int:
    return int(dataset.removeprefix("ds-"))


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that it survives a loss of power.

    One that is there may be that of a process which died before it could make it safe.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    if os.access(folder.parent, os.W_OK):  # elsewhere it is not ours
        sync_folder(folder.parent)


@contextmanager
def folder_lock(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Held by one process at a time; it ends with the process.

    Raises: BlockingIOError without `wait`, while another process has it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def open_no_link(path: Path, mode: Literal["ab", "wb"]) -> IO[bytes]:
    """Open it for writing. A link that stands there, which may lead anywhere, is removed first, and
    a pipe, at which the opening would wait.

    In its folder, a training may leave what it likes.
    """
    if path.is_symlink() or path.is_fifo():
        path.unlink()
    # By the name that Path.open calls, too: the tests of failing disks stand in for it.
    return io.open(path, mode, opener=_open_no_link)  # noqa: UP020


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def open_to_read(path: Path) -> io.BufferedReader:
    """Open it for reading; a link, or what is no file, counts as not there.

    Raises: FileNotFoundError.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def content_of(path: Path) -> bytes:
    """All of a file in whose folder a training may have left links to what only the trainer can
    read: a link, or what is no file, counts as not there.

    Raises: FileNotFoundError.
    """
    with open_to_read(path) as file:
        return file.read()


def write_durably(path: Path, content: bytes, *, read_only: bool = False) -> None:
    """Write a whole file or nothing: temporary file, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open_no_link(temporary, "wb") as file:
        file.write(content)
        file.flush()
        if read_only:
            os.fchmod(file.fileno(), READ_ONLY)  # before the fsync, or the mode may be lost
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what another process wrote survive a loss of power.

    After an error the file is removed: the next fsync of it would succeed, and mean nothing.
    """
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Make a folder's names survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
