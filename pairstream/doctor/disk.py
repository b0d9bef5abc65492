"""The data directory: room, and whether what is written there is safe, and how fast."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from pairstream.doctor.findings import Finding, note, ok, wrong
from trainer.disk import Disk, disk_of
from trainer.room import shown

WRITES = 5
WRITE_BYTES = 64 * 1024

# A segment closes every half minute: what takes seconds to make safe holds up the intake.
SLOW_SECONDS = 1.0

LOW_SHARE = 0.1


def check_disk(data_dir: Path) -> Iterator[Finding]:
    """Writes a few small files into the directory, where it is there, and removes them."""
    yield room_finding(data_dir, disk_of(data_dir))
    if not data_dir.is_dir():
        path = data_dir.absolute()
        above = next(each for each in (path, *path.parents) if each.exists())
        if not above.is_dir():
            yield wrong(
                "data dir", f"{above} is no folder", "remove it, or set PAIRSTREAM_DATA_DIR"
            )
        elif os.access(above, os.W_OK):
            yield ok("data dir", f"{data_dir} is not there yet; it can be made in {above}")
        else:
            yield wrong("data dir", f"{above} cannot be written", _permission(data_dir))
        return
    try:
        seconds = max(_write_safely(data_dir) for _ in range(WRITES))
    except OSError as error:
        why = f"{data_dir} cannot be written ({error.strerror})"
        yield wrong("data dir", why, _permission(data_dir))
    else:
        yield write_finding(data_dir, seconds)


def _permission(data_dir: Path) -> str:
    return f"give {data_dir} to user {os.getuid()}, mend the disk, or set PAIRSTREAM_DATA_DIR"


def room_finding(data_dir: Path, disk: Disk) -> Finding:
    """Pure."""
    share = disk.free / disk.total if disk.total else 0.0
    found = f"{shown(disk.free)} of {shown(disk.total)} are free for {data_dir}"
    if share < LOW_SHARE:
        return wrong("disk", found, "make room: a full disk ends the trainer")
    return ok("disk", found)


def write_finding(data_dir: Path, seconds: float) -> Finding:
    """Pure."""
    found = f"{data_dir}: {WRITE_BYTES // 1024} KiB are safe on it within {seconds * 1000:.1f} ms"
    if seconds > SLOW_SECONDS:
        return note("data dir", found, "use a disk of this machine, not a network's")
    return ok("data dir", found)


def _write_safely(folder: Path) -> float:
    """Seconds for one file, as the trainer writes them: fsync, rename, fsync of the folder."""
    begun = time.monotonic()
    temporary = folder / f".doctor-{uuid.uuid4().hex}.tmp"
    renamed = temporary.with_suffix(".done")
    try:
        with temporary.open("wb") as file:
            file.write(b"\0" * WRITE_BYTES)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(renamed)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)
        renamed.unlink(missing_ok=True)
    return time.monotonic() - begun
