"""A TCP proxy in front of one broker, which understands as much of Kafka's frames as it needs.

It cuts connections, slows them, falls silent with the connection left open, and drops the answer
of a produce request that the broker has carried out.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

HOST = "127.0.0.1"
PRODUCE = 0
CALL_SECONDS = 10.0

T = TypeVar("T")


class ProxyLoop:
    """The event loop of all proxies, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_SECONDS)

    def close(self) -> None:
        self.run(self._end_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end_all(self) -> None:
        for server in self.servers:
            server.close()
        tasks = asyncio.all_tasks(self.loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """Listens on a free port for one broker's. Its methods may be called from any thread."""

    def __init__(self, loop: ProxyLoop, target_port: int) -> None:
        self._loop = loop
        self._target = target_port
        self._links: set[_Link] = set()
        self._passing = asyncio.Event()
        self.delay_seconds = 0.0
        self.answers_to_lose = 0
        self.answers_lost = 0
        server = loop.run(self._listen())
        loop.servers.append(server)
        self.port: int = server.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        self._passing.set()
        return await asyncio.start_server(self._serve, HOST, 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, (reader, writer), broker)
        self._links.add(link)
        try:
            await link.run()
        except asyncio.CancelledError:
            pass  # The end of the loop; asyncio would report it of a connection's task.
        finally:
            self._links.discard(link)

    @property
    def connections(self) -> int:
        return len(self._links)

    def cut(self) -> int:
        """Reset every connection, and say how many; new ones are let in."""
        return self._loop.run(self._cut())

    async def _cut(self) -> int:
        for link in self._links:
            link.reset()
        return len(self._links)

    def slow(self, seconds: float) -> None:
        """Hold back every frame for so long; 0 ends it."""
        self.delay_seconds = seconds

    def mute(self) -> None:
        """Let nothing through, and leave the connections open."""
        self._loop.loop.call_soon_threadsafe(self._passing.clear)

    def unmute(self) -> None:
        self._loop.loop.call_soon_threadsafe(self._passing.set)

    def lose_answers(self, count: int) -> None:
        """Carry out the next produce requests, and reset the connection instead of answering."""
        self.answers_to_lose = count

    async def held_back(self) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self._passing.wait()

    def takes_answer(self, api: int) -> bool:
        """Whether the answer to this request is to be lost."""
        if api != PRODUCE or not self.answers_to_lose:
            return False
        self.answers_to_lose -= 1
        return True


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One client's connection and the one to the broker behind it."""

    def __init__(self, proxy: Proxy, client: Streams, broker: Streams) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._doomed: set[int] = set()

    async def run(self) -> None:
        """Until either side closes."""
        pumps = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.reset()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def reset(self) -> None:
        for _, writer in (self._client, self._broker):
            _reset(writer)

    async def _requests(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _read_frame(self._client[0])
                api, _, correlation = struct.unpack_from(">hhi", frame)
                if self._proxy.takes_answer(api):
                    self._doomed.add(correlation)
                await self._pass_on(frame, self._broker[1])

    async def _answers(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _read_frame(self._broker[0])
                (correlation,) = struct.unpack_from(">i", frame)
                if correlation in self._doomed:
                    self._proxy.answers_lost += 1
                    return
                await self._pass_on(frame, self._client[1])

    async def _pass_on(self, frame: bytes, to: asyncio.StreamWriter) -> None:
        await self._proxy.held_back()
        to.write(struct.pack(">i", len(frame)) + frame)
        await to.drain()


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a firewall or a dying host does."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
