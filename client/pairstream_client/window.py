"""How many events may be on their way at once: many, but one alone after a failure. Pure.

Brokers refuse whole batches. An event that is refused when it travels alone is itself at fault.
"""


class Window:
    def __init__(self, largest: int) -> None:
        self._largest = self._size = largest
        self.under_way = 0

    @property
    def has_room(self) -> bool:
        return self.under_way < self._size

    def left(self) -> bool:
        """Whether it travels alone: nothing is under way, and nothing follows before it arrived."""
        self.under_way += 1
        return self.under_way == self._size == 1

    def returned(self) -> None:
        """It did not leave after all."""
        self.under_way -= 1

    def arrived(self) -> None:
        self.under_way -= 1
        self._size = min(self._largest, self._size * 2)

    def failed(self) -> None:
        self.under_way -= 1
        self._size = 1
