"""The runs of one partition for those who want its pairs alone. Pure.

What no pair depends on is left out: scored rows, and the fingerprints by which a worker tells late
events from known ones, since neither gives a pair. A quarter of the time of a replay.
"""

from schemas.events import Event
from schemas.rows import SettledBy, encode
from schemas.topics import MAX_ROW_BYTES, PAIRS
from streams.garbling import SHORT_GARBLED_BYTES
from streams.pairing import Settlement
from streams.partition import EVENT_BYTES, OpenRun, Partition, Rows
from streams.runs import Run
from streams.state import Marker

# After it whatever else comes of a run is passed over.
_KNOWS_NOTHING = Marker("limit", b"")


class PairsOnly(Partition):
    """Gives the same pairs and garble requests as `Partition`; outcomes count no scored rows."""

    def _marker(self, run: Run, last: Event, by: SettledBy) -> Marker:
        return _KNOWS_NOTHING

    def _rows(self, opened: OpenRun, by: SettledBy) -> tuple[Settlement, Rows]:
        if by == "limit" or not self._surely_fits(opened):
            settlement, rows = super()._rows(opened, by)
            return settlement, [row for row in rows if row[0] is PAIRS]
        settlement = self._settlement(opened.run, by, scored=False)
        key = opened.run.run_id.encode()
        return settlement, [(PAIRS, key, encode(pair)) for pair in settlement.pairs]

    def _surely_fits(self, opened: OpenRun) -> bool:
        """Whether all rows of the run, were they made, are as small as they must be.

        Each text of an event stands in a row once at most, in twice its bytes at most, and each
        attempt and strategy is in four rows at most. A garbled text takes twice that, and 100 kB.
        What is redacted may be longer.
        """
        if self._redact is not None:
            return False
        row = 2 * opened.size + 4 * EVENT_BYTES
        rows = 4 * (len(opened.run.attempts) + len(opened.run.strategies)) + 1
        return 3 * row + SHORT_GARBLED_BYTES <= MAX_ROW_BYTES and rows * row <= self._run_max_bytes
