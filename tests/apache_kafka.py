"""Apache Kafka from its own folder (KAFKA_HOME), in KRaft mode on loopback."""

import base64
import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

LOGIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
USER, PASSWORD = "worker", "correct-horse"

START_SECONDS = 60.0
STOP_SECONDS = 30.0
HEAP = ("-Xms256m", "-Xmx256m", "-XX:+UseSerialGC")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={login} required user_{user}="{password}";
log.dir={folder}/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
"""


class ApacheKafka:
    """One node, as a context manager; what it holds survives `kill` and `start`."""

    java_options: tuple[str, ...] = ()

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.port, self.sasl_port, controller = free_ports(3)
        self._jars = f"{home}/libs/*"
        self._config = folder / "server.properties"
        self._config.write_text(
            PROPERTIES.format(
                port=self.port,
                sasl=self.sasl_port,
                controller=controller,
                folder=folder,
                login=LOGIN_MODULE,
                user=USER,
                password=PASSWORD,
            )
            + self.more_properties(controller)
        )
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def more_properties(self, controller: int) -> str:
        """Those of a node with more to it; of two with the same name the later counts."""
        return ""

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running node."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        self._java(
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",
            "-c",
            str(self._config),
        )
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command("kafka.Kafka", str(self._config)),
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start: {self._log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def fill_disk(self) -> None:
        """From now on no file of the running node can grow; `start` has room again."""
        assert self._process is not None
        _, most = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (1, most))

    def await_end(self) -> int:
        """Wait until the node ends by itself; returns its exit code."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait(STOP_SECONDS)

    def _java(self, *arguments: str) -> None:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, cwd=self.folder
        )
        if done.returncode:
            raise RuntimeError(f"{arguments[0]} failed: {done.stderr[-3000:]}")

    def command(self, *arguments: str) -> list[str]:
        """How to start a class of Kafka's, with its arguments."""
        return [
            "java",
            *HEAP,
            *self.java_options,
            "-Djava.awt.headless=true",
            "-cp",
            self._jars,
            *arguments,
        ]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
