import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.topics import RUN_EVENTS
from streams.partition import Partition
from tests.conftest import Pairstream
from tests.examples.conftest import AGENT_FOLDER

pytestmark = pytest.mark.long

AGENT_SECONDS = 120
PARTITIONS = 2

Record = tuple[bytes | None, bytes | None, int]


@pytest.fixture
def cluster(embedded_broker: str, prefix: str, pairstream: Pairstream) -> dict[str, str]:
    """The environment that names a cluster with pairstream's topics."""
    environment = {
        "PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker,
        "PAIRSTREAM_TOPIC_PREFIX": prefix,
    }
    pairstream("topics", "apply", env={**environment, "PAIRSTREAM_PARTITIONS": str(PARTITIONS)})
    return environment


def agent(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, AGENT_FOLDER, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=AGENT_SECONDS,
        check=False,
    )


def records(cluster: dict[str, str], partition: int) -> Iterator[Record]:
    """What stands in one partition of the topic of events."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster["PAIRSTREAM_BOOTSTRAP_SERVERS"],
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    topic = cluster["PAIRSTREAM_TOPIC_PREFIX"] + RUN_EVENTS.name
    consumer.assign([TopicPartition(topic, partition, 0)])
    try:
        while True:
            message = consumer.poll(30)
            assert message is not None
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(error)
            offset = message.offset()
            assert offset is not None
            yield message.key(), message.value(), offset
    finally:
        consumer.close()


def all_records(cluster: dict[str, str]) -> list[list[Record]]:
    return [list(records(cluster, partition)) for partition in range(PARTITIONS)]


def run_ids(found: list[list[Record]], event_type: str) -> set[str]:
    events = [orjson.loads(value or b"") for part in found for _, value, _ in part]
    return {event["run_id"] for event in events if event["type"] == event_type}


def test_every_run_arrives_whole_and_has_its_line(cluster: dict[str, str]) -> None:
    done = agent("--runs", 5, "--seed", 0, **cluster)

    assert done.returncode == 0, done.stderr
    assert done.stderr == "no model: strategies and programs are drawn from a pool\n"
    found = all_records(cluster)
    settled = [Partition(extended=False).apply(part, now_ms=0) for part in found]
    assert all(effects.refused == [] for effects in settled)
    outcomes = {s.outcome.run_id: s.outcome for e in settled for s in e.settlements}
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} == outcomes.keys()
    assert len(outcomes) == len(lines) == 5
    for line in lines:
        outcome = outcomes[line.split()[0]]
        assert f"{outcome.task_id}  {outcome.strategies} strategies  " in line
        assert f"  {outcome.attempts} attempts  best " in line
        assert line.endswith("best 0 bytes") == (outcome.successes == 0)


def test_the_readmes_own_agent_reports_a_run(cluster: dict[str, str]) -> None:
    readme = (AGENT_FOLDER / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)

    subprocess.run([sys.executable, "-c", example], env={**os.environ, **cluster}, check=True)

    settled = [
        settlement
        for part in all_records(cluster)
        for settlement in Partition(extended=False).apply(part, now_ms=0).settlements
    ]
    assert [s.outcome.outcome for s in settled] == ["paired"]
    assert settled[0].outcome.agent_id == "my-agent"


@pytest.mark.parametrize("asking", [signal.SIGTERM, signal.SIGINT])
def test_an_agent_that_is_asked_to_stop_ends_well(
    cluster: dict[str, str], asking: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, AGENT_FOLDER, "--runs", "50", "--delay", "600"],
        env={**os.environ, **cluster},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(asking)
        rest = process.stdout.read()

        assert process.wait(AGENT_SECONDS) == 0
    found = all_records(cluster)
    started = run_ids(found, "run.started")
    assert started == run_ids(found, "run.finished")
    assert started == {line.split()[0] for line in [first, *rest.splitlines()]}
    assert len(started) == 1


def test_events_that_nobody_acknowledges_are_an_error() -> None:
    impatient = (
        "import importlib.util, sys\n"
        f"sys.path.insert(0, {str(AGENT_FOLDER)!r})\n"
        f"spec = importlib.util.spec_from_file_location('command', {str(AGENT_FOLDER)!r}"
        " + '/__main__.py')\n"
        "command = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(command)\n"
        "command.DELIVERY_SECONDS = 0.1\n"
        "sys.exit(command.main(['--runs', '1']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", impatient],
        env={**os.environ, "PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=AGENT_SECONDS,
        check=False,
    )

    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    last = done.stderr.splitlines()[-1]
    assert "events were not acknowledged" in last
    assert "PAIRSTREAM_BOOTSTRAP_SERVERS" in last


def test_without_the_client_it_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-S", AGENT_FOLDER], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == (
        "free_space_agent: pairstream_client is not installed: pip install pairstream-client\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--runs", "0"], "--runs"),
        (["--delay", "-1"], "--delay"),
        (["--model", "nowhere"], "nowhere is no folder with a transformers model"),
        (["--sed", "1x"], "--seed"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], says: str) -> None:
    done = agent(*arguments)

    assert done.returncode == 2
    assert says in done.stderr


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    done = agent("--model", tmp_path)

    assert done.returncode == 1
    assert f"{tmp_path} cannot be used" in done.stderr


def test_help_teaches_every_option() -> None:
    done = agent("--help")

    assert done.returncode == 0
    for word in ("--runs", "--seed", "--model", "--delay", "PAIRSTREAM_BOOTSTRAP_SERVERS"):
        assert word in done.stdout
