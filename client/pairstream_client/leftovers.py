"""Spools of processes that ended, in one place: claimed one by one, the oldest first."""

import os
from collections import deque
from pathlib import Path

from pairstream_client import spool_folders
from pairstream_client.process_lock import process_lock
from pairstream_client.spool_folders import Folder
from pairstream_client.spool_segments import FileSegment
from pairstream_client.spool_shelf import Shelf, Taken
from pairstream_client.told import Faults


class Leftovers:
    """Used by the sending thread alone, but for `abandon`."""

    def __init__(self, root: Path, faults: Faults) -> None:
        self._root = root
        self._faults = faults
        self._dead: deque[tuple[Path, int]] = deque()
        self._folder: Folder | None = None
        self._shelf = Shelf(adopted=True)
        self.bytes = 0

    def find(self) -> None:
        """Look once for what there is."""
        try:
            for path in spool_folders.folders_in(self._root):
                if spool_folders.holder_of(path) is None:
                    size = spool_folders.size_of(path)
                    self._dead.append((path, size))
                    self.bytes += size
        except OSError as error:
            self._fault(error)

    @property
    def is_done(self) -> bool:
        return self._folder is None and not self._dead

    def take(self) -> Taken | None:
        """The next line; None while all of one spool is under way, or when none is left.

        Raises: OSError.
        """
        while self._folder is not None or self._claim_next():
            taken = self._take_from_shelf()
            if taken is not None:
                return taken
            self.sweep()
            if self._folder is not None:
                return None
        return None

    def _take_from_shelf(self) -> Taken | None:
        try:
            return self._shelf.take()
        except OSError as error:
            self._fault(error)
            self._shelf.give_up_first()
            return None

    def sweep(self) -> None:
        """Delete what is settled. Raises: OSError."""
        self.bytes -= self._shelf.sweep()
        if self._folder is not None and self._shelf.is_empty:
            folder, self._folder = self._folder, None
            folder.remove()

    def close(self) -> None:
        """Leave what is not settled to the next process."""
        self._shelf.close()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files, and of its locks."""
        if self._folder is not None:
            self._folder.release()

    def _claim_next(self) -> bool:
        while self._dead and self._folder is None:
            try:
                self._claim(*self._dead.popleft())
            except OSError as error:
                self._fault(error)
        return self._folder is not None

    def _claim(self, path: Path, size: int) -> None:
        with process_lock:  # so that a forked child knows of the lock
            self._folder = spool_folders.claim(path)
        if self._folder is None:
            self.bytes -= size
        else:
            files = spool_folders.segments_in(path)
            self._shelf = Shelf([FileSegment(file) for file in files], adopted=True)

    def _fault(self, error: OSError) -> None:
        reason = os.strerror(error.errno or 0)
        self._faults.fault(f"the spool of a process that ended cannot be read ({reason})")
