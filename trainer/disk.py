"""How much room the disk under a folder has."""

import os
from pathlib import Path
from typing import NamedTuple


class Disk(NamedTuple):
    """A file system, in bytes; `free` is what an unprivileged user may take."""

    free: int
    total: int


def disk_of(folder: Path) -> Disk:
    """Of the folder, or of the nearest one above it that is there."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    disk = os.statvfs(there)
    return Disk(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
