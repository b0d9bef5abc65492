"""From recorded runs to the bytes of their events, counting what becomes of them."""

from collections.abc import Callable

from pairstream.formats.assembling import assemble
from pairstream.formats.encoding import event_bytes
from pairstream.formats.record import LeftOut, Recorded, Unmapped
from schemas.errors import InvalidRecord
from schemas.events import Event
from schemas.printable import printable
from schemas.topics import MAX_EVENT_BYTES

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
                    event = event_bytes(item.event)
                except InvalidRecord as error:
                    self.refuse(item.place, str(error))
                    return []
                if len(event) > MAX_EVENT_BYTES:
                    self.refuse(item.place, _too_large(item.event, len(event)))
                    return []
                placed.append((item.place, found.run_id, event))
        self.runs += bool(placed)
        return placed

    def refuse(self, place: str, why: str) -> None:
        self.unmapped += 1
        self._say(printable(f"{place}: {why}"))


def _too_large(event: Event, size: int) -> str:
    kind = event.__struct_config__.tag
    return f"its run is left out whole: a {kind} has {size} bytes, more than {MAX_EVENT_BYTES}"
