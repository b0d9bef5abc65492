"""From recorded runs to the bytes of their events, counting what becomes of them."""

from collections.abc import Callable

from pairstream.formats.assembling import assemble
from pairstream.formats.encoding import event_bytes
from pairstream.formats.record import LeftOut, Recorded, Unmapped
from schemas.errors import InvalidRecord
from schemas.printable import printable

# Place, run and bytes of an event.
Placed = tuple[str, str, bytes]


class RunMapping:
    """Attributes: `runs` that gave events, `unmapped` runs and attempts, `left_out` attempts.

    Args: `say` tells the user what cannot be mapped, with its place.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.runs = self.unmapped = self.left_out = 0

    def events(self, found: Recorded | Unmapped) -> list[Placed]:
        """All of a run, or nothing: a run of which a part is missing would be settled wrongly."""
        if isinstance(found, Unmapped):
            self.refuse(found.place, found.why)
            return []
        placed = []
        for item in assemble(found):
            if isinstance(item, LeftOut):
                self.left_out += 1
            elif isinstance(item, Unmapped):
                self.refuse(item.place, item.why)
            else:
                try:
                    placed.append((item.place, found.run_id, event_bytes(item.event)))
                except InvalidRecord as error:
                    self.refuse(item.place, str(error))
                    return []
        self.runs += bool(placed)
        return placed

    def refuse(self, place: str, why: str) -> None:
        self.unmapped += 1
        self._say(printable(f"{place}: {why}"))
