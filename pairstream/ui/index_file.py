"""The file of the index, which may be removed or damaged while the site runs."""

import threading
from pathlib import Path

import structlog

from pairstream.ui.index_tables import remove
from pairstream.ui.index_writer import IndexWriter

log = structlog.get_logger()


class IndexFile:
    """Opens the index, and opens it anew. Raises: OSError and sqlite3.Error where it cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_damaged = threading.Event()
        self.writer = IndexWriter(path)
        self._number = self._number_now()

    def close(self) -> None:
        self.writer.close()

    def make_anew(self) -> None:
        """It is damaged: the next `mend` replaces it. Any thread may say so."""
        self._is_damaged.set()

    def is_well(self) -> bool:
        return not self._is_damaged.is_set() and self._number == self._number_now()

    def mend(self) -> bool:
        """Open it anew where it is not well, and say so: what it holds is read again."""
        if self.is_well():
            return False
        why = "it is damaged" if self._is_damaged.is_set() else "its file is gone"
        log.warning("index_made_anew", why=why)
        self.writer.close()
        if self._is_damaged.is_set():
            remove(self._path)
        self.writer = IndexWriter(self._path)
        self._is_damaged.clear()
        self._number = self._number_now()
        return True

    def _number_now(self) -> int | None:
        """What tells the file apart from another one of its name."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return None
