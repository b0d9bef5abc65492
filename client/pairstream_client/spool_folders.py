"""Where spools lie: a folder for each process, locked for as long as the process lives."""

import contextlib
import fcntl
import os
import re
import secrets
import time
from pathlib import Path

LOCK = "lock"
REFUSED = "refused.jsonl"
SUFFIX = ".jsonl"

_NAME = re.compile(r"\d{8}T\d{6}-(\d+)-[0-9a-f]{8}")


class Folder:
    """One process's folder. Whoever makes or claims it has it alone, until `release` or death."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def remove(self) -> None:
        """Delete an empty folder; one that still holds something is left."""
        try:
            if not segments_in(self.path):
                (self.path / LOCK).unlink()
                self.path.rmdir()
        except OSError:
            # Someone else removed it, or its maker has just taken it again: theirs then.
            return
        finally:
            self.release()

    def release(self) -> None:
        os.close(self._lock)


def make(root: Path) -> Folder:
    """A folder for this process. Raises: OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = root / f"{moment}-{os.getpid()}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        # Between the two lines another process may claim the folder, and remove it as empty.
        folder = claim(path)
        if folder is not None:
            return folder


def claim(path: Path) -> Folder | None:
    """None when a living process has it, or when it is gone. Raises: OSError."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    if os.fstat(lock).st_nlink == 0:
        os.close(lock)
        return None
    with contextlib.suppress(OSError):  # to be told, no more: a full disk must not prevent it
        os.ftruncate(lock, 0)
        os.write(lock, b"%d" % os.getpid())
    return Folder(path, lock)


def holder_of(path: Path) -> int | None:
    """The living process that has the folder: its maker, or who sends what that one left.

    Raises: OSError.
    """
    try:
        lock = os.open(path / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        written = os.read(lock, 20)
        return int(written) if written.isdigit() else process_id_of(path)
    finally:
        os.close(lock)
    return None


def folders_in(root: Path) -> list[Path]:
    """All processes' folders, the oldest first. Raises: OSError."""
    if not root.exists():
        return []
    return sorted(path for path in root.iterdir() if _NAME.fullmatch(path.name))


def segments_in(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix == SUFFIX)


def process_id_of(path: Path) -> int:
    name = _NAME.fullmatch(path.name)
    assert name is not None
    return int(name[1])


def size_of(path: Path) -> int:
    """Bytes of events in a process's folder."""
    return sum(file.stat().st_size for file in segments_in(path))


def keep_refused(root: Path, line: bytes, *, max_bytes: int) -> bool:
    """Keep what is not sent for a person to look at; False when so much is kept already."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    file = os.open(root / REFUSED, flags, 0o600)
    try:
        if os.fstat(file).st_size + len(line) > max_bytes:
            return False
        return os.write(file, line) == len(line)
    finally:
        os.close(file)


def sync_folder(path: Path) -> None:
    """Make the names in a folder outlive the machine's power."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
