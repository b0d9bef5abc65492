"""Sends what stands in spools, in the order in which it stands there, until it is settled.

Its own process's events go first; what other processes left goes between them, a little at once.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count

from pairstream_client.errors import NotYet, Refused
from pairstream_client.events import Event
from pairstream_client.leftovers import Leftovers
from pairstream_client.process_lock import process_lock
from pairstream_client.sender import Delivered, Failure
from pairstream_client.settings import SpoolSettings
from pairstream_client.spool import Spool
from pairstream_client.spool_folders import REFUSED, keep_refused
from pairstream_client.spool_lines import event_of, to_line
from pairstream_client.spool_shelf import Taken
from pairstream_client.told import Told
from pairstream_client.window import Window

THREAD_NAME = "pairstream-client-spool"
# Events of that long make one batch, so that the agent's thread is seldom disturbed.
LINGER_SECONDS = 0.01
# After a failure, and while something has to be waited for that tells nothing.
RETRY_SECONDS = 1.0
# Of other processes' events, so that new ones never wait for many.
LEFTOVERS_UNDER_WAY = 1000
STOP_SECONDS = 1.0

Send = Callable[[Event, Delivered], None]


class Courier:
    def __init__(
        self, settings: SpoolSettings, send: Send, told: Told, *, most_under_way: int
    ) -> None:
        """Make one that has nothing of its own; nothing is read yet.

        Args:
            send: raises NotYet when the same event may be taken later, Refused when never.
        """
        self._settings = settings
        self._send = send
        self._told = told
        self._spool = Spool(settings, told)
        self._leftovers = Leftovers(settings.root, told)
        self._window = Window(most_under_way)
        self._numbers = count()
        # What came back, a heap in the order in which it was taken; with the reason, if for ever.
        self._returned: list[tuple[int, Taken, str | None]] = []
        self._wait_until = 0.0
        self._wake, self._closing, self._ended = (threading.Event() for _ in range(3))
        self._wake.set()
        self._thread: threading.Thread | None = None

    # --- What the agent's threads call -----------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def post(self, event: Event) -> None:
        """Keep an event until it is settled. Raises: Refused. Under the process's lock."""
        self._spool.append(to_line(event))
        if not self._wake.is_set():
            self._wake.set()

    def finish(self, seconds: float) -> None:
        """Take no more leftovers, and wait until the own events are settled, and all under way."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)
            self._ended.set()
            self._wake.set()
            self._thread.join(STOP_SECONDS)

    def close(self) -> int:
        """Leave the rest to the next process; returns how many events end with this one."""
        try:
            self._sweep()
        except OSError as error:
            self._fault(error)
        self._spool.say_faults()
        with process_lock:
            self._leftovers.close()
            return self._spool.close()

    def abandon(self) -> None:
        """In a forked child: leave the parent's spool alone."""
        self._leftovers.abandon()
        self._spool.abandon()

    # --- What the sending thread does ------------------------------------------------------------

    def _run(self) -> None:
        self.find_leftovers()
        while not self._is_over:
            self.turn()
            self._closing.wait(LINGER_SECONDS)

    @property
    def _is_over(self) -> bool:
        return self._ended.is_set() or (self._closing.is_set() and not self._is_waiting)

    @property
    def _is_waiting(self) -> bool:
        return bool(self._spool.unsettled or self._window.under_way)

    @property
    def has_leftovers(self) -> bool:
        return not self._leftovers.is_done

    def find_leftovers(self) -> None:
        self._leftovers.find()
        self._spool.left_by_others = self._leftovers.bytes

    def turn(self) -> None:
        """Wait for a reason to go on, delete what is settled, and send what can be sent now."""
        has_more = self.has_leftovers or self._is_waiting
        self._wake.wait(RETRY_SECONDS if has_more else None)
        self._wake.clear()
        self._spool.say_faults()
        try:
            self._sweep()
            while self._step():
                pass
        except OSError as error:
            self._fault(error)

    def _sweep(self) -> None:
        self._spool.sweep()
        self._leftovers.sweep()
        self._spool.left_by_others = self._leftovers.bytes

    def _step(self) -> bool:
        """Handle one line; whether there may be another one to handle now."""
        if self._ended.is_set():
            return False
        may_send = self._window.has_room and time.monotonic() >= self._wait_until
        returned = self._take_returned(may_send=may_send)
        if returned is not None:
            number, taken, reason = returned
            if reason is None:
                return self._send_line(number, taken)
            self._set_aside(taken, reason)
            return True
        new = self._take_new() if may_send else None
        return new is not None and self._send_line(next(self._numbers), new)

    def _take_returned(self, *, may_send: bool) -> tuple[int, Taken, str | None] | None:
        """The first that came back, unless it has to wait."""
        with process_lock:
            if not self._returned or (self._returned[0][2] is None and not may_send):
                return None
            return heappop(self._returned)

    def _take_new(self) -> Taken | None:
        taken = self._spool.take()
        if taken is None and self._may_take_leftovers:
            return self._leftovers.take()
        return taken

    @property
    def _may_take_leftovers(self) -> bool:
        return not self._closing.is_set() and self._window.under_way < LEFTOVERS_UNDER_WAY

    def _send_line(self, number: int, taken: Taken) -> bool:
        event = event_of(taken.line)
        if event is None:
            self._leave_out(taken)
            return True
        with process_lock:
            alone = self._window.left()
        try:
            self._send(event, partial(self._delivered, (number, taken), event.key, alone))
        except NotYet:
            self._take_back(number, taken, None)
            return False
        except Refused as error:
            self._take_back(number, taken, str(error))
        return True

    def _take_back(self, number: int, taken: Taken, reason: str | None) -> None:
        with process_lock:
            self._window.returned()
            heappush(self._returned, (number, taken, reason))

    def _leave_out(self, taken: Taken) -> None:
        """A line that is not whole: a torn one was never recorded, another one was damaged."""
        if taken.line.endswith(b"\n"):
            self._set_aside(taken, "its line in the spool was damaged")
        else:
            self._settle(taken)

    def _set_aside(self, taken: Taken, reason: str) -> None:
        settings = self._settings
        try:
            kept = keep_refused(settings.root, taken.line, max_bytes=settings.max_bytes)
        except OSError:
            kept = False
        self._settle(taken)
        where = f"it is kept in {REFUSED}" if kept else "it could not be kept"
        self._told.set_aside(f"{reason}; {where}", adopted=taken.adopted)

    def _settle(self, taken: Taken) -> None:
        """It may be deleted, by the next turn."""
        with process_lock:
            taken.segment.unsettled -= 1
            if not taken.adopted:
                self._spool.unsettled -= 1
        self._wake.set()

    def _delivered(
        self, numbered: tuple[int, Taken], key: bytes, alone: bool, failure: Failure | None
    ) -> None:
        """On the thread that takes in acknowledgements."""
        number, taken = numbered
        if failure is None:
            with process_lock:
                self._window.arrived()
            self._told.acknowledged(key, adopted=taken.adopted)
            self._settle(taken)
            return
        is_at_fault = failure.for_good and alone
        with process_lock:
            self._window.failed()
            heappush(self._returned, (number, taken, failure.reason if is_at_fault else None))
            if not failure.for_good:
                self._wait_until = time.monotonic() + RETRY_SECONDS
        if not failure.for_good and not self._ended.is_set():
            self._told.put_off(failure.reason)
        self._wake.set()

    def _fault(self, error: OSError) -> None:
        self._told.fault(f"the spool cannot be tidied ({os.strerror(error.errno or 0)})")
