"""A part of a spool: lines that are appended, taken once in their order, and settled in any.

`is_open` and `append` belong to the thread that writes, the rest to the thread that sends;
`unsettled`, and `clear`, are guarded by the process's lock.
"""

import errno
import os
from pathlib import Path

CHUNK_BYTES = 16_384


class FileSegment:
    """Its lines outlive the process."""

    in_memory = False
    ends_with_process = 0

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        """Raises: OSError."""
        self.is_open = is_new
        self.unsettled = 0
        self._path = path
        self._read_to = 0
        self._reading: int | None = None
        self._writing: int | None = None
        if is_new:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._writing = os.open(path, flags, 0o600)
        self.size = path.stat().st_size

    def append(self, line: bytes) -> None:
        """All of the line or nothing. Raises: OSError."""
        assert self._writing is not None
        if os.write(self._writing, line) < len(line):
            os.ftruncate(self._writing, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(line)

    def sync(self) -> None:
        """Until this returns, lines outlive the process only, not the machine's power."""
        if self._writing is not None:
            os.fsync(self._writing)

    def shut(self) -> None:
        """Nothing more is appended."""
        self.is_open = False
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def take(self, *, growing: bool) -> bytes | None:
        """The next line; the last one may be torn, unless the file grows. Raises: OSError."""
        line = self._next_line()
        if not line or (growing and not line.endswith(b"\n")):
            return None
        self._read_to += len(line)
        return line

    def _next_line(self) -> bytes:
        if self._reading is None:
            self._reading = os.open(self._path, os.O_RDONLY)
        line = b""
        while chunk := os.pread(self._reading, CHUNK_BYTES, self._read_to + len(line)):
            head, newline, _ = chunk.partition(b"\n")
            line += head + newline
            if newline:
                break
        return line

    def rest(self) -> None:
        """Hold no file open: all lines were taken."""
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None

    def clear(self) -> int:
        """Forget the lines if all were taken; how many bytes that were."""
        if (
            self._writing is None
            or os.fstat(self._writing).st_size != self._read_to
            or not self.size
        ):
            return 0
        os.ftruncate(self._writing, 0)
        freed, self.size, self._read_to = self.size, 0, 0
        return freed

    def close(self) -> None:
        self.shut()
        self.rest()

    def delete(self) -> None:
        self.close()
        self._path.unlink(missing_ok=True)


class MemorySegment:
    """Stands in where no file can be written; its lines end with the process."""

    in_memory = True

    def __init__(self) -> None:
        self.is_open = True
        self.unsettled = 0
        self.size = 0
        self._lines: list[bytes] = []
        self._taken = 0

    def append(self, line: bytes) -> None:
        self._lines.append(line)
        self.size += len(line)

    def sync(self) -> None:
        """There is nothing that could be kept."""

    def shut(self) -> None:
        self.is_open = False

    @property
    def ends_with_process(self) -> int:
        """How many lines are not settled."""
        return len(self._lines) - self._taken + self.unsettled

    def take(self, *, growing: bool) -> bytes | None:
        if self._taken == len(self._lines):
            return None
        self._taken += 1
        return self._lines[self._taken - 1]

    def rest(self) -> None:
        """There is nothing open."""

    def clear(self) -> int:
        if self._taken < len(self._lines):
            return 0
        freed, self.size, self._taken = self.size, 0, 0
        self._lines = []
        return freed

    def close(self) -> None:
        self.shut()

    def delete(self) -> None:
        self.close()


Segment = FileSegment | MemorySegment
