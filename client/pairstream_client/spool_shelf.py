"""Segments in the order in which they are sent; each is deleted when all of it is settled."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pairstream_client.process_lock import process_lock
from pairstream_client.spool_segments import Segment


@dataclass(frozen=True)
class Taken:
    """A line that is under way; it stays in its segment until it is settled."""

    line: bytes
    segment: Segment
    adopted: bool


class Shelf:
    def __init__(self, segments: Iterable[Segment] = (), *, adopted: bool) -> None:
        self._adopted = adopted
        self._unread: deque[Segment] = deque(segments)
        self._read: list[Segment] = []

    @property
    def is_empty(self) -> bool:
        return not self._unread and not self._read

    @property
    def memory_bytes(self) -> int:
        return sum(s.size for s in [*self._read, *self._unread] if s.in_memory)

    def add(self, segment: Segment) -> None:
        self._unread.append(segment)

    def take(self) -> Taken | None:
        """The next line. Raises: OSError when the first segment cannot be read."""
        while self._unread:
            segment = self._unread[0]
            # Asked for first: what is appended before a segment is shut is then seen below.
            growing = segment.is_open
            line = segment.take(growing=growing)
            if line is not None:
                with process_lock:
                    segment.unsettled += 1
                return Taken(line, segment, self._adopted)
            if growing:
                return None
            segment.rest()
            self._read.append(self._unread.popleft())
        return None

    def give_up_first(self) -> None:
        """Take no more of the segment that cannot be read; its file is left where it is."""
        with process_lock:
            self._unread.popleft().close()

    def sweep(self) -> int:
        """Delete what is settled; returns how many bytes that were. Raises: OSError."""
        settled = [segment for segment in self._read if not segment.unsettled]
        self._read = [segment for segment in self._read if segment not in settled]
        for segment in settled:
            segment.delete()
        freed = sum(segment.size for segment in settled)
        with process_lock:
            first = self._unread[0] if self._unread else None
            if first is not None and first.is_open and not first.unsettled:
                freed += first.clear()
        return freed

    def close(self) -> int:
        """Let go of all files; returns how many lines end with this process."""
        segments = [*self._read, *self._unread]
        for segment in segments:
            if segment.size:
                segment.close()
            else:
                segment.delete()
        return sum(segment.ends_with_process for segment in segments)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files, and change nothing."""
        for segment in [*self._read, *self._unread]:
            segment.close()
