"""What the tests of the spool share: a broker that does what a test says, and a courier to it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from client_support import PROMPTS

from pairstream_client import Stats
from pairstream_client.courier import Courier
from pairstream_client.errors import NotYet, Refused
from pairstream_client.events import Event, encode, run_finished
from pairstream_client.sender import Delivered, Failure
from pairstream_client.settings import SpoolSettings
from pairstream_client.spool_folders import folders_in
from pairstream_client.tally import Tally

TOO_LARGE = Failure("Broker: Message size too large", for_good=True)
UNAVAILABLE = Failure("Broker: Not authorized", for_good=False)


def event(name: str, *, text: str = "") -> Event:
    return encode(
        run_finished() | {"text": text}, run_id=name, time="", event_id=name, source="tests"
    )


class ScriptedBroker:
    """Holds what was sent until a test says what becomes of it."""

    def __init__(self) -> None:
        self.room = 1_000_000
        self.too_large_at_once = ""
        self.acknowledged: list[str] = []
        self.under_way: list[tuple[str, Delivered]] = []

    def send(self, event: Event, delivered: Delivered) -> None:
        name = event.key.decode()
        if name == self.too_large_at_once:
            raise Refused("too large")
        if len(self.under_way) >= self.room:
            raise NotYet("full")
        self.under_way.append((name, delivered))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.under_way]

    def answer(self, failure: Callable[[str], Failure | None] = lambda _: None) -> None:
        """Answer for all that is under way."""
        answered, self.under_way = self.under_way, []
        for name, delivered in answered:
            reason = failure(name)
            if reason is None:
                self.acknowledged.append(name)
            delivered(reason)


class Agent:
    """One process's end of a spool, without its thread: a test makes its turns."""

    def __init__(
        self, root: Path, *, max_bytes: int = 100_000_000, most: int = 1000, fsync: bool = False
    ) -> None:
        self.root = root
        self.broker = ScriptedBroker()
        self.tally = Tally()
        settings = SpoolSettings(root, max_bytes, fsync)
        self.courier = Courier(settings, self.broker.send, self.tally, most_under_way=most)
        self.courier.find_leftovers()

    def record(self, *names: str, text: str = "") -> None:
        for name in names:
            self.courier.post(event(name, text=text))
            self.tally.queued()

    def turn(self) -> list[str]:
        """What is under way after a turn."""
        self.courier.turn()
        return self.broker.names

    @property
    def stats(self) -> Stats:
        return self.tally.stats

    @property
    def kept_bytes(self) -> int:
        files = [file for folder in folders_in(self.root) for file in folder.glob("*.jsonl")]
        return sum(file.stat().st_size for file in files)


PROCESS_SECONDS = 60.0

# Says the number of each attempt when it is recorded, in small segments, until it is killed.
_AGENT = """
import importlib, os, signal, sys, time
from pathlib import Path
from pairstream_client import Publisher, RunRecorder, spool, spool_segments

root, servers, prefix, tear, *strike = sys.argv[1:]
spool.SEGMENT_BYTES = 5000
calls = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def strike_at(place, name, number, side):
    module, _, owner = place.partition(".")
    target = importlib.import_module("pairstream_client." + module)
    target = getattr(target, owner) if owner else target
    whole = getattr(target, name)

    def struck(*args, **kwargs):
        global calls
        calls += 1
        if side == "before" and calls == int(number):
            die()
        result = whole(*args, **kwargs)
        if side == "after" and calls == int(number):
            die()
        return result

    setattr(target, name, struck)

def tear_write(number):
    whole = os.write

    def torn(file, content):
        global calls
        calls += content.startswith(b'{"crc"')
        if calls == number:
            whole(file, content[:-1 - len(content) // 3])
            die()
        return whole(file, content)

    spool_segments.os.write = torn

if strike:
    strike_at(*strike)
if int(tear):
    tear_write(int(tear))
publisher = Publisher(servers, prefix, spool=root)
strategy = RunRecorder(PROMPTS, run_id="killed", publisher=publisher).propose("Print.")
number = 0
while True:
    number += 1
    strategy.attempt(f"print({number})", compiled=True, ran=True)
    assert publisher.stats.dropped == 0
    os.write(1, b"%d\\n" % number)
    while number % 60 == 0 and publisher.stats.acknowledged and publisher.stats.queued:
        time.sleep(0.001)
"""


def record_until_killed(
    spool: Path,
    servers: str,
    prefix: str,
    *,
    strike: tuple[str, str, int, str] | None = None,
    tear: int = 0,
    kill_after: int = 0,
) -> list[int]:
    """The attempts that an agent recorded before it was killed.

    Args:
        strike: it kills itself at a call: where, of what, of which number, before or after.
        tear: in the middle of the write of that number.
        kill_after: it is killed when it has said so many attempts.
    """
    command = [sys.executable, "-c", f"PROMPTS = {PROMPTS!r}\n{_AGENT}"]
    arguments = [str(spool), servers, prefix, str(tear), *map(str, strike or ())]
    agent = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    assert agent.stdout is not None
    assert agent.stderr is not None
    said: list[int] = []
    with agent:
        for line in agent.stdout:
            said.append(int(line))
            if len(said) == kill_after:
                agent.kill()
        errors = agent.stderr.read().decode()
    assert agent.returncode == -9, errors
    return said
