"""The site as users run it: a process of its own, asked over HTTP."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlencode

START_SECONDS, STOP_SECONDS, WAIT_SECONDS = 60.0, 30.0, 60.0

# Nobody answers there.
NO_BROKER = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


class Reply(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class SiteProcess:
    """A context manager; `url` is the site's root, without a slash at its end."""

    def __init__(self, env: dict[str, str], *arguments: str, home: Path) -> None:
        self._home = home
        self._env = {**os.environ, **env}
        self._arguments = arguments

    def __enter__(self) -> "SiteProcess":
        self._home.mkdir(exist_ok=True)
        self._errors: IO[bytes] = (self._home / "errors.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pairstream", "ui", "--port", "0", *self._arguments],
            env=self._env,
            cwd=self._home,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("pairstream ui at "), (self._home / "errors.log").read_text()
        self.url = line.split()[3].rstrip("/")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.stop() == 0, self.errors

    def stop(self) -> int:
        self._process.terminate()
        code = self._process.wait(STOP_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
        return code

    @property
    def errors(self) -> str:
        """Its log."""
        return (self._home / "errors.log").read_text()

    def get(self, path: str, *, headers: dict[str, str] | None = None, **query: object) -> Reply:
        address = f"{self.url}{path}?{urlencode(query)}" if query else self.url + path
        return _ask(urllib.request.Request(address, headers=headers or {}))

    def post(self, path: str, form: dict[str, str], headers: dict[str, str]) -> Reply:
        body = urlencode(form).encode()
        return _ask(urllib.request.Request(self.url + path, body, headers, method="POST"))

    def wait_for(self, path: str, holds: Callable[[str], bool], **query: object) -> str:
        """The page once it shows what is wanted."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            reply = self.get(path, **query)
            if reply.status == 200 and holds(reply.text):
                return reply.text
            assert time.monotonic() < deadline, f"{path}: {reply.status}\n{reply.text[:6000]}"
            time.sleep(0.1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def _ask(request: urllib.request.Request) -> Reply:
    try:
        with _opener.open(request, timeout=WAIT_SECONDS) as reply:
            return Reply(reply.status, reply.headers, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def metrics_line(step: int, steps: int, **figures: float) -> str:
    return json.dumps({"step": step, "steps": steps, **figures}) + "\n"
