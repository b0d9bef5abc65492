"""A disk on which the n-th operation of a kind fails.

`python -m tests.trainer.failing_disk FOLDER KIND NUMBER ERRNO ARGS...` is `pairstream ARGS...` with
such a disk where paths begin with FOLDER.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from pairstream.__main__ import main as pairstream
from tests.trainer.power_loss import EVENTS, WRITING

# An fsync; a write of bytes; a new, renamed or removed name or another mode.
Kind = Literal["fsync", "write", "change"]


class DiskFailure(OSError):
    pass


class FailingDisk:
    """A failed fsync is told once, as the kernel does; a full or read-only disk stays what it is.

    SQLite's own operations are not seen: its file is derived from others.
    """

    def __init__(self, root: Path, kind: Kind, number: int, error: int) -> None:
        self.kind = kind
        self.failed = False
        self._root = str(root)
        self._left = number
        self._error = error

    def count(self, path: object) -> None:
        """One operation of the kind. Raises: DiskFailure when its turn has come."""
        if not str(path).startswith(self._root):
            return
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self.kind != "fsync"):
            self.failed = True
            raise DiskFailure(self._error, os.strerror(self._error), str(path))


_disk: FailingDisk | None = None
_hooked = False


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _disk is None or _disk.kind != "change" or event not in EVENTS:
        return
    if event != "open" or (arguments[2] or 0) & WRITING:
        path = arguments[0]
        _disk.count(_path_of(path) if isinstance(path, int) else path)


def _path_of(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}").readlink()


_open, _fsync = io.open, os.fsync


class _RawFile(io.FileIO):
    def write(self, content: Any) -> int:
        assert _disk is not None
        _disk.count(self.name)
        return super().write(content)


def _open_counted(path: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
    if not {"w", "a"} & set(mode):
        return _open(path, mode, *args, **named)
    raw = io.BufferedWriter(_RawFile(path, mode.replace("b", "")))
    return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")


def _fsync_counted(handle: int) -> None:
    assert _disk is not None
    _disk.count(_path_of(handle))
    _fsync(handle)


@contextmanager
def failing_disk(root: Path, kind: Kind, number: int, error: int) -> Iterator[FailingDisk]:
    global _disk, _hooked
    if not _hooked:
        sys.addaudithook(_on_event)
        _hooked = True
    _disk = FailingDisk(root, kind, number, error)
    with pytest.MonkeyPatch.context() as patch:
        if kind == "fsync":
            patch.setattr(os, "fsync", _fsync_counted)
        if kind == "write":
            patch.setattr(io, "open", _open_counted)
        try:
            yield _disk
        finally:
            _disk = None


def main(root: str, kind: Kind, number: str, error: str, *args: str) -> None:
    with failing_disk(Path(root), kind, int(number), int(error)):
        pairstream(list(args))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
