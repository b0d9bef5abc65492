"""Keeps this process's events in files until they are settled, within a bound.

Where no file can be written, events wait in memory instead, in the same order.
"""

import os
import time
from collections import deque

from pairstream_client import spool_folders
from pairstream_client.errors import Refused
from pairstream_client.process_lock import process_lock
from pairstream_client.settings import SpoolSettings
from pairstream_client.spool_folders import Folder
from pairstream_client.spool_segments import FileSegment, MemorySegment, Segment
from pairstream_client.spool_shelf import Shelf, Taken
from pairstream_client.told import Faults

# A segment is deleted as a whole: small ones give room back soon.
SEGMENT_BYTES = 1_048_576
# What waits in memory where no file can be written.
MEMORY_BYTES = 16 * 1_048_576
# After a file could not be written, how long it is not tried again.
FAULT_SECONDS = 10.0


class Spool:
    """Appended to by the agent's threads, under the process's lock; the rest is the sender's."""

    def __init__(self, settings: SpoolSettings, faults: Faults) -> None:
        self._settings = settings
        self._faults = faults
        self._shelf = Shelf(adopted=False)
        self._folder: Folder | None = None
        self._live: Segment | None = None
        self._number = 0
        self._unsaid: deque[str] = deque()
        self._held = 0
        self._file_may_be_tried_at = time.monotonic()
        # Of other processes that ended, in the same place: they count too.
        self.left_by_others = 0
        self.unsettled = 0

    def append(self, line: bytes) -> None:
        """Raises: Refused when the spool is full."""
        if self._held + self.left_by_others + len(line) > self._settings.max_bytes:
            raise Refused("the spool is full")
        segment = self._appended(line)
        self._held += len(line)
        self.unsettled += 1
        if self._settings.fsync:
            self._sync(segment)

    def take(self) -> Taken | None:
        """The next line to send."""
        try:
            return self._shelf.take()
        except OSError as error:
            self._faults.fault(f"a spool file cannot be read ({os.strerror(error.errno or 0)})")
            self._shelf.give_up_first()
            return None

    def sweep(self) -> None:
        """Delete what is settled. Raises: OSError."""
        freed = self._shelf.sweep()
        with process_lock:
            self._held -= freed

    def say_faults(self) -> None:
        """Say what went wrong in `append`."""
        while self._unsaid:
            self._faults.fault(self._unsaid.popleft())

    def close(self) -> int:
        """Leave the rest to the next process; returns how many events end with this one."""
        lost = self._shelf.close()
        if self._folder is not None:
            self._folder.remove()
        return lost

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files, and of its lock."""
        self._shelf.abandon()
        if self._folder is not None:
            self._folder.release()

    def _appended(self, line: bytes) -> Segment:
        """The segment that took the line: a file where that can be."""
        if time.monotonic() >= self._file_may_be_tried_at:
            try:
                segment = self._file()
                segment.append(line)
            except OSError as error:
                self._fault(error)
            else:
                return segment
        if self._shelf.memory_bytes + len(line) > MEMORY_BYTES:
            raise Refused("the spool cannot be written, and too much waits in memory")
        segment = self._memory()
        segment.append(line)
        self._faults.unspooled()
        return segment

    def _file(self) -> Segment:
        """Raises: OSError."""
        live = self._live_if(in_memory=False)
        return self._turn_to(self._new_file()) if live is None else live

    def _memory(self) -> Segment:
        live = self._live_if(in_memory=True)
        return self._turn_to(MemorySegment()) if live is None else live

    def _live_if(self, *, in_memory: bool) -> Segment | None:
        live = self._live
        if live is None or live.in_memory != in_memory:
            return None
        return live if live.is_open and live.size < SEGMENT_BYTES else None

    def _new_file(self) -> FileSegment:
        if self._folder is None:
            self._folder = spool_folders.make(self._settings.root)
            if self._settings.fsync:
                spool_folders.sync_folder(self._settings.root)
        self._number += 1
        name = f"{self._number:08d}{spool_folders.SUFFIX}"
        file = FileSegment(self._folder.path / name, is_new=True)
        if self._settings.fsync:
            spool_folders.sync_folder(self._folder.path)
        return file

    def _turn_to(self, segment: Segment) -> Segment:
        if self._live is not None:
            self._live.shut()
        self._live = segment
        self._shelf.add(segment)
        return segment

    def _sync(self, segment: Segment) -> None:
        try:
            segment.sync()
        except OSError as error:
            self._fault(error)

    def _fault(self, error: OSError) -> None:
        self._file_may_be_tried_at = time.monotonic() + FAULT_SECONDS
        reason = os.strerror(error.errno or 0)
        # Nothing may be logged under the process's lock.
        self._unsaid.append(f"the spool cannot be written ({reason}): events wait in memory")
