"""A limit on dead letters: a broken producer must not be drained into them."""

from collections import deque

WINDOW_SECONDS = 60.0


class LetterRate:
    """Counts dead letters within a minute. Pure: the time (s, steady) is the caller's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: deque[tuple[float, int]] = deque()
        self._count = 0

    def exceeds(self, letters: int, *, now: float) -> bool:
        """Take in so many more; whether that is beyond the limit."""
        if not letters:
            return False
        self._recent.append((now, letters))
        self._count += letters
        while self._recent[0][0] <= now - WINDOW_SECONDS:
            self._count -= self._recent.popleft()[1]
        return self._count > self._most
