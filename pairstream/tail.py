"""Follows logs as they grow, for people who watch."""

from collections.abc import Iterator
from pathlib import Path

from trainer.layout import open_to_read


class LogTail:
    """The lines that a log has gained since the last look; it need not be there yet.

    One that became shorter was written anew, as that of a training is which is started again, and
    is read from its start. What is no file, or a link, counts as not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._part = b""
        self.is_missing = True

    def news(self) -> Iterator[str]:
        """Complete lines, by newlines alone: agents' text may hold what else counts as an end."""
        try:
            with open_to_read(self._path) as file:
                self.is_missing = False
                if file.seek(0, 2) < self._place:
                    self._place, self._part = 0, b""
                file.seek(self._place)
                content = self._part + file.read()
                self._place = file.tell()
        except FileNotFoundError:
            return
        *lines, self._part = content.split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)

    def rest(self) -> Iterator[str]:
        """The last line, where it has no end."""
        if self._part:
            yield self._part.decode(errors="replace")
