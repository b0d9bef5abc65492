"""A sender's own record of what was acknowledged, against the log.

Memory: the ledger.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec
import orjson
from confluent_kafka import Message
from msgspec import Struct

from pairstream.verify.report import Check
from pairstream.verify.snapshot import Scope
from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS

Identity = tuple[str, str]


class Send(Struct, frozen=True):
    """One send as its sender saw it end; `unknown` is a timeout, which may have been written.

    The event is named by its `event_id`, or by `key` and the SHA-256 of its value.
    """

    run_id: str
    result: Literal["acknowledged", "failed", "unknown"]
    event_id: str | None = None
    key: str | None = None
    sha256: str | None = None
    partition: int | None = None
    offset: int | None = None

    @property
    def identity(self) -> Identity:
        if self.event_id is not None:
            return self.run_id, self.event_id
        return self.key or self.run_id, self.sha256 or ""


def read_ledger(path: Path) -> list[Send]:
    """Raises: PairstreamError that names the line which cannot be read."""
    decoder = msgspec.json.Decoder(Send)
    sends = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                send = decoder.decode(line)
                is_placed = send.partition is not None and send.offset is not None
                if not (send.event_id or send.sha256) or (
                    send.result == "acknowledged" and not is_placed
                ):
                    raise PairstreamError(
                        f"{path} line {number} names no event, or not where it was acknowledged"
                    )
                sends.append(send)
    except OSError as error:
        raise PairstreamError(f"{path} cannot be read: {error.strerror}") from error
    except JSON_ERRORS as error:
        raise PairstreamError(f"{path} line {len(sends) + 1} is no send: {error}") from error
    return sends


class LedgerComparison:
    """The sends of a ledger against the events topic."""

    def __init__(self, check: Check, sends: list[Send], topic: str, scope: Scope) -> None:
        self._check = check
        self._topic = topic
        wanted = [send for send in sends if scope.wants(send.run_id)]
        self._missing = {
            (send.partition, send.offset): send.identity
            for send in wanted
            if send.result == "acknowledged"
        }
        self._left = Counter({send.identity: 0 for send in wanted})
        self._left.update(send.identity for send in wanted if send.result != "failed")
        self._failed = {identity for identity, sends in self._left.items() if not sends}
        self._repeats = 0

    def see(self, message: Message) -> None:
        """Take in a record of the events topic."""
        place = message.partition(), message.offset()
        at = f"{self._topic}/{place[0]}/{place[1]}"
        identities = _identities(message)
        wanted = self._missing.pop(place, None)
        if wanted is not None:
            self._check.checked += 1
            if wanted not in identities:
                what = "another event than the one that was acknowledged there"
                self._check.found(what, id=" ".join(wanted), at=at)
        for identity in identities & self._left.keys():
            self._left[identity] -= 1
            if identity in self._failed:
                what = "an event that is there although its sends failed"
                self._check.found(what, id=" ".join(identity), at=at)
            elif self._left[identity] < 0:
                self._repeats += 1

    def finish(self, lows: dict[int, int]) -> None:
        """`lows`: the first offsets that were read."""
        if self._repeats:
            # A client that lost an answer sends again, and not every broker knows it again.
            self._check.note(
                "records that came once more than they were sent, which changes nothing: "
                f"{self._repeats}"
            )
        for (partition, offset), identity in self._missing.items():
            if partition in lows and (offset or 0) < lows[partition]:
                self._check.note("what was acknowledged before the first event read is left out")
                continue
            what = "an acknowledged event that is not there"
            at = f"{self._topic}/{partition}/{offset}"
            self._check.found(what, id=" ".join(identity), at=at)


def _identities(message: Message) -> set[Identity]:
    """By which names a ledger may know a record."""
    key = (message.key() or b"").decode(errors="backslashreplace")
    value = message.value() or b""
    names = {(key, hashlib.sha256(value).hexdigest())}
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return names
    if isinstance(event, dict) and isinstance(event.get("event_id"), str):
        names.add((str(event.get("run_id")), event["event_id"]))
    return names
