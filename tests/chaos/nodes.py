"""Three nodes of Apache Kafka: clients reach them through proxies, they each other directly."""

import base64
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.proxy import HOST, Proxy, ProxyLoop
from tests.chaos.supervisor import ChaosError

COUNT = 3

# Below the range from which the system gives ports to clients: one of these could sit on the port
# of a node that is down, or a connection to it could connect to itself.
PORTS = range(20_000, 32_000)

START_SECONDS = 240.0
# As supervisors do: one that asks in vain for its controlled shutdown would wait for minutes.
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.05
JVM = (
    "-Xms128m",
    "-Xmx256m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
)

PROPERTIES = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=NODES://127.0.0.1:{inner},CLIENTS://127.0.0.1:{outer},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=NODES://127.0.0.1:{inner},CLIENTS://127.0.0.1:{advertised}
inter.broker.listener.name=NODES
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,NODES:PLAINTEXT,CLIENTS:PLAINTEXT
log.dir={folder}/log
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
background.threads=2
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
broker.session.timeout.ms=3000
leader.imbalance.check.interval.seconds=5
leader.imbalance.per.broker.percentage=0
broker.heartbeat.interval.ms=500
"""


class Node:
    """One broker and controller; what it holds survives `kill` and `start`."""

    def __init__(self, home: Path, folder: Path, proxy: Proxy, inner_port: int) -> None:
        self.proxy = proxy
        self.inner_port = inner_port
        self._folder = folder
        self._jars = f"{home}/libs/*"
        self._config = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None

    def format(self, properties: str, cluster_id: str) -> "subprocess.Popen[str]":
        """Started, to be waited for."""
        self._folder.mkdir(parents=True)
        self._config.write_text(properties)
        # In one word: an id may begin with a dash.
        identity = f"--cluster-id={cluster_id}"
        tool = ("kafka.tools.StorageTool", "format", identity, "-c", str(self._config))
        return subprocess.Popen(
            self._command(*tool), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def launch(self) -> None:
        with (self._folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._config)),
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self._folder,
            )  # fmt: skip

    def await_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.inner_port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ChaosError(f"a node did not start; see {self._folder}/server.log")
            time.sleep(LOOK_SECONDS)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """Signal it and wait for its end; one that does not stop is killed."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def _command(self, *arguments: str) -> list[str]:
        log = f"-Dlog4j2.configurationFile={self._log_config()}"
        return ["java", *JVM, "-Djava.awt.headless=true", log, "-cp", self._jars, *arguments]

    def _log_config(self) -> Path:
        path = self._folder / "log4j2.properties"
        if not path.exists():
            path.write_text(LOGGING)
        return path


LOGGING = """\
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
"""


class Nodes:
    """The cluster: `servers` by way of the proxies, `inner_servers` for those who look on."""

    def __init__(self, home: Path, folder: Path, loop: ProxyLoop) -> None:
        ports = _ports(3 * COUNT)
        self._inner, self._outer, self._controllers = (
            ports[start : start + COUNT] for start in range(0, 3 * COUNT, COUNT)
        )
        self._folder = folder
        self.all = [
            Node(home, folder / f"node{number + 1}", Proxy(loop, self._outer[number]), inner)
            for number, inner in enumerate(self._inner)
        ]

    @property
    def servers(self) -> str:
        return ",".join(f"{HOST}:{node.proxy.port}" for node in self.all)

    @property
    def inner_servers(self) -> str:
        return ",".join(f"{HOST}:{port}" for port in self._inner)

    @contextmanager
    def running(self) -> Iterator[None]:
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        formats = []
        voters = ",".join(f"{n}@{HOST}:{port}" for n, port in enumerate(self._controllers, 1))
        for place, node in enumerate(self.all):
            properties = PROPERTIES.format(
                number=place + 1,
                voters=voters,
                inner=self._inner[place],
                outer=self._outer[place],
                controller=self._controllers[place],
                advertised=node.proxy.port,
                folder=self._folder / f"node{place + 1}",
            )
            formats.append(node.format(properties, cluster_id))
        for process in formats:
            _, complaints = process.communicate(timeout=START_SECONDS)
            if process.returncode:
                raise ChaosError(f"a node was not formatted: {complaints[-3000:]}")
        try:
            self.start_all()
            yield
        finally:
            for node in self.all:
                node.end(signal.SIGKILL)

    def start_all(self) -> None:
        for node in self.all:
            node.launch()
        self.await_all()

    def await_all(self) -> None:
        """Until each answers: no blow at one node makes two that are away."""
        for node in self.all:
            node.await_answer()

    def kill_all(self) -> None:
        for node in self.all:
            node.end(signal.SIGKILL)


def _ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    return random.SystemRandom().sample([port for port in PORTS if not _answers(port)], count)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
