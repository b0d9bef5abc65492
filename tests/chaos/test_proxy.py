"""The proxy, between a client and a stand-in for a broker that speaks in Kafka's frames."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import HOST, PRODUCE, Proxy, ProxyLoop

FETCH = 1
SECONDS = 10.0


class Broker:
    """Answers each frame with its correlation id and `done`; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._server = socket.create_server((HOST, 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # A reset is what some of these tests are about.
        with contextlib.suppress(ConnectionError), client, client.makefile("rb") as stream:
            while head := stream.read(4):
                frame = stream.read(struct.unpack(">i", head)[0])
                api, _, correlation = struct.unpack_from(">hhi", frame)
                self.asked.append(api)
                answer = struct.pack(">i", correlation) + b"done"
                client.sendall(struct.pack(">i", len(answer)) + answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it was closed before
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


class Client:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=SECONDS)

    def ask(self, api: int, correlation: int) -> None:
        frame = struct.pack(">hhi", api, 0, correlation) + b"please"
        self._socket.sendall(struct.pack(">i", len(frame)) + frame)

    def answer(self) -> int:
        """The correlation id. Raises: ConnectionError when the connection was reset."""
        head = self._socket.recv(12, socket.MSG_WAITALL)
        if len(head) < 12:
            raise ConnectionResetError
        length, correlation, text = struct.unpack(">ii4s", head)
        assert (length, text) == (8, b"done")
        return int(correlation)

    def is_silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.close()


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    loop = ProxyLoop()
    yield Proxy(loop, broker.port)
    loop.close()


def test_requests_and_answers_pass(proxy: Proxy, broker: Broker) -> None:
    client = Client(proxy.port)
    for correlation in (1, 2):
        client.ask(PRODUCE, correlation)

    assert [client.answer(), client.answer()] == [1, 2]
    assert broker.asked == [PRODUCE, PRODUCE]


def test_a_cut_resets_every_connection_and_lets_new_ones_in(proxy: Proxy) -> None:
    client = Client(proxy.port)
    client.ask(FETCH, 1)
    assert client.answer() == 1

    proxy.cut()

    with pytest.raises(ConnectionError):
        client.answer()
    again = Client(proxy.port)
    again.ask(FETCH, 2)
    assert again.answer() == 2


def test_a_lost_answer_was_carried_out(proxy: Proxy, broker: Broker) -> None:
    proxy.lose_answers(1)
    client = Client(proxy.port)
    client.ask(FETCH, 1)
    assert client.answer() == 1

    client.ask(PRODUCE, 2)

    with pytest.raises(ConnectionError):
        client.answer()
    assert broker.asked == [FETCH, PRODUCE]
    assert proxy.answers_lost == 1
    again = Client(proxy.port)
    again.ask(PRODUCE, 3)
    assert again.answer() == 3


def test_a_mute_proxy_holds_everything_back_until_it_speaks_again(
    proxy: Proxy, broker: Broker
) -> None:
    client = Client(proxy.port)
    client.ask(FETCH, 1)
    assert client.answer() == 1

    proxy.mute()
    client.ask(FETCH, 2)
    assert client.is_silent(0.1)
    assert broker.asked == [FETCH]
    proxy.unmute()

    assert client.answer() == 2


def test_a_slow_proxy_delays_and_drops_nothing(proxy: Proxy) -> None:
    proxy.slow(0.05)
    client = Client(proxy.port)
    client.ask(FETCH, 1)

    assert client.is_silent(0.05)
    assert client.answer() == 1


def test_a_client_of_a_broker_that_is_down_is_reset(proxy: Proxy, broker: Broker) -> None:
    broker.close()

    with pytest.raises(ConnectionError):
        Client(proxy.port).answer()
