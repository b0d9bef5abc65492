"""Follows logs as they grow, for people who watch."""

from collections.abc import Iterator
from pathlib import Path

from trainer.layout import open_to_read

# So much of two logs is never the same by chance at the same place.
SEEN_BYTES = 256


class LogTail:
    """The lines that a log has gained since the last look; it need not be there yet.

    One that was written anew, as that of a training is which is started again, is read from its
    start: what it ended with at the last look stands no longer in its place. What is no file, or a
    link, counts as not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._seen = b""  # what stands before that place
        self._part = b""
        self.is_missing = True

    def news(self) -> Iterator[str]:
        """Complete lines, by newlines alone: agents' text may hold what else counts as an end."""
        try:
            with open_to_read(self._path) as file:
                self.is_missing = False
                file.seek(self._place - len(self._seen))
                content = file.read()
                if content.startswith(self._seen):
                    content = content[len(self._seen) :]
                else:
                    file.seek(0)
                    content, self._seen, self._part = file.read(), b"", b""
                self._place = file.tell()
        except FileNotFoundError:
            return
        self._seen = (self._seen + content[-SEEN_BYTES:])[-SEEN_BYTES:]
        *lines, self._part = (self._part + content).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)

    def rest(self) -> Iterator[str]:
        """The last line, where it has no end."""
        if self._part:
            yield self._part.decode(errors="replace")
