"""A Unix socket before the Docker Engine's, which can be cut as if the engine were gone."""

import asyncio
import os
import re
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")

BYTES_A_READ = 65536
CALL_SECONDS = 10.0


@dataclass(frozen=True)
class Cut:
    """At which request the engine goes, and how many pieces of its answer come through.

    `request` is a pattern for method and path, the path without the API's version. Null pieces: it
    does not even get the request; 0: it does what is asked, but its answer is lost.
    """

    request: str
    pieces: int | None = None

    def fits(self, content: bytes) -> bool:
        method, _, path = self.request.partition(" ")
        return bool(re.match(rf"{method} (/v[0-9.]+)?{path}".encode(), content))


class Relay:
    """Passes bytes on until it is cut: by `cut`, or once by the request given to `cut_at`."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self.is_cut = threading.Event()
        self._path = path
        self._wanted: Cut | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.connect()

    def connect(self) -> None:
        """Let clients reach the engine, again."""
        self.is_cut.clear()
        self._server = self._run(asyncio.start_unix_server(self._serve, self._path))

    def cut_at(self, wanted: Cut) -> None:
        self._wanted = wanted

    def cut(self) -> None:
        """No new connection, and an end to those that are there."""
        self._run(self._cut())

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _end(self) -> None:
        await self._cut()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()
        self.is_cut.set()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        answers, engine = await asyncio.open_unix_connection(ENGINE)
        self._writers |= {client, engine}
        link = _Link()
        await asyncio.gather(
            self._pass_requests(reader, engine, link), self._pass_answers(answers, client, link)
        )
        self._writers -= {client, engine}

    async def _pass_requests(
        self, reader: asyncio.StreamReader, engine: asyncio.StreamWriter, link: "_Link"
    ) -> None:
        while content := await _read(reader):
            if self._wanted is not None and self._wanted.fits(content):
                wanted, self._wanted = self._wanted, None
                if wanted.pieces is None:
                    await self._cut()
                    return
                link.pieces_left = wanted.pieces
            engine.write(content)
        engine.close()

    async def _pass_answers(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, link: "_Link"
    ) -> None:
        while content := await _read(reader):
            if link.pieces_left == 0:
                await self._cut()
                return
            if link.pieces_left is not None:
                link.pieces_left -= 1
            client.write(content)
        client.close()


@dataclass
class _Link:
    """One connection; null: nothing of its answers is to be cut off."""

    pieces_left: int | None = None


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Empty at the end, whatever ended it."""
    try:
        return await reader.read(BYTES_A_READ)
    except ConnectionError:
        return b""
