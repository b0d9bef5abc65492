"""A publisher with a spool: what is kept, what happens when the spool cannot be used."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from client_support import NO_BROKER, PROMPTS, EventsTopic, RunScript
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from spool_support import Agent, event
from tests.apache_kafka import ApacheKafka

from pairstream_client import Publisher, RunRecorder, Stats
from pairstream_client import spool as spool_module
from pairstream_client import spool_segments as segments_module
from pairstream_client.complaints import logger
from pairstream_client.dead_spools import spools_in
from pairstream_client.errors import Refused
from pairstream_client.process_lock import process_lock
from pairstream_client.spool_folders import REFUSED, folders_in, holder_of
from pairstream_client.spool_lines import to_line
from schemas.topics import RUN_EVENTS, Names

CLOSE_SECONDS = 60.0
WHOLE_RUN = ["run.started", "strategy.proposed", "code.attempted", "run.finished"]


def _record(publisher: Publisher, run_id: str) -> None:
    with RunRecorder(PROMPTS, run_id=run_id, publisher=publisher) as run:
        run.propose("Print.").attempt("print()", compiled=True, ran=True)


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CLOSE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_no_broker_took_is_sent_by_the_next_start(
    events_topic: EventsTopic, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Publisher(NO_BROKER, spool=tmp_path)
    _record(first, "r-1")

    assert first.close(0) == 4
    assert first.stats == Stats(queued=4)
    assert "closed before 4 events were acknowledged; they stay in the spool" in caplog.text
    second = Publisher(events_topic.servers, events_topic.prefix, spool=tmp_path)
    _record(second, "r-2")
    _await(lambda: second.stats == Stats(acknowledged=4, adopted=4))
    assert second.close(CLOSE_SECONDS) == 0
    assert events_topic.types_by_run() == {"r-1": WHOLE_RUN, "r-2": WHOLE_RUN}
    assert list(tmp_path.iterdir()) == []


def test_events_keep_their_headers_through_the_spool(
    events_topic: EventsTopic, tmp_path: Path
) -> None:
    publisher = Publisher(events_topic.servers, events_topic.prefix, spool=tmp_path)
    RunRecorder(PROMPTS, agent_id="cleaner-ü", publisher=publisher)
    assert publisher.close(CLOSE_SECONDS) == 0

    (record,) = events_topic.read()
    headers = dict(record.headers())
    assert headers["ce_source"] == "cleaner-ü".encode()
    assert headers["ce_type"] == b"run.started"


def test_the_spool_is_set_by_the_environment(
    events_topic: EventsTopic, run_script: RunScript, tmp_path: Path
) -> None:
    agent = """
import os
from pairstream_client import RunRecorder
with RunRecorder(PROMPTS, run_id="r-1") as run:
    run.propose("Print.").attempt("print()", compiled=True, ran=True)
assert len(os.listdir(os.environ["PAIRSTREAM_SPOOL_DIR"])) == 1
"""
    spool = {"PAIRSTREAM_SPOOL_DIR": str(tmp_path / "spool"), "PAIRSTREAM_SPOOL_FSYNC": "1"}
    done = run_script(agent, env=events_topic.environment() | spool)

    assert (done.returncode, done.stderr) == (0, "")
    assert events_topic.types_by_run() == {"r-1": WHOLE_RUN}
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_spool_is_for_the_agent_s_user_alone(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    Agent(root).record("1")

    kept = [root, *root.rglob("*")]
    assert len(kept) == 4
    assert [path for path in kept if path.stat().st_mode & 0o077] == []


def test_with_fsync_an_event_is_on_the_disk_when_it_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []

    def fsync(file: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{file}").readlink()), os.fstat(file).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    Agent(tmp_path / "without").record("1", "2")
    assert synced == []
    Agent(tmp_path / "with", fsync=True).record("1", "2")

    (folder,) = folders_in(tmp_path / "with")
    file, size = str(folder / "00000001.jsonl"), len(to_line(event("1")))
    assert [sync for sync in synced if sync[0] == file] == [(file, size), (file, 2 * size)]
    # The names too, before the first event counts as recorded.
    names = [path for path, _ in synced]
    assert set(names[: names.index(file)]) == {str(folder), str(folder.parent)}


def test_an_unusable_spool_is_said_once_and_events_are_sent_from_memory(
    events_topic: EventsTopic, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    logged_under_lock = []

    class Handler(logging.Handler):
        """A handler may wait for a thread that records, so none may be called under its lock."""

        def emit(self, _: logging.LogRecord) -> None:
            logged_under_lock.append(process_lock._is_owned())

    handler = Handler()
    logger.addHandler(handler)
    publisher = Publisher(
        events_topic.servers, events_topic.prefix, spool=tmp_path / "file" / "spool"
    )
    _record(publisher, "r-1")

    assert publisher.close(CLOSE_SECONDS) == 0
    logger.removeHandler(handler)
    assert logged_under_lock == [False]
    assert publisher.stats == Stats(acknowledged=4, unspooled=4)
    assert events_topic.types_by_run() == {"r-1": WHOLE_RUN}
    assert caplog.text.count("the spool cannot be written (Not a directory)") == 1


def test_what_waits_in_memory_fails_when_the_process_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    publisher = Publisher(NO_BROKER, spool=tmp_path / "file")
    _record(publisher, "r-1")

    assert publisher.close(0) == 4
    assert publisher.stats == Stats(failed=4, unspooled=4)


def test_memory_for_what_cannot_be_written_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 2 * len(to_line(event("1"))))
    (tmp_path / "file").write_text("")
    agent = Agent(tmp_path / "file")
    agent.record("1", "2")

    with pytest.raises(Refused, match="too much waits in memory"):
        agent.record("3")
    agent.turn()
    agent.broker.answer()
    agent.turn()
    agent.record("4")


def test_events_keep_their_order_while_the_disk_is_full_and_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes half a line, then nothing, then all again."""
    agent = Agent(tmp_path)
    agent.record("1")
    whole = os.write

    def full(file: int, content: bytes) -> int:
        return whole(file, content[: len(content) // 2])

    with monkeypatch.context() as disk:
        disk.setattr(segments_module.os, "write", full)
        agent.record("2", "3")
    monkeypatch.setattr(spool_module.time, "monotonic", lambda: float("inf"))
    agent.record("4")
    monkeypatch.undo()

    assert agent.turn() == list("1234")
    assert agent.stats == Stats(queued=4, unspooled=2)
    assert agent.courier.close() == 2
    (left,) = spools_in(tmp_path)
    assert (left.events, left.damaged) == (2, 0)


def test_a_file_size_limit_of_the_system_breaks_no_agent(
    run_script: RunScript, tmp_path: Path
) -> None:
    agent = """
import resource, sys
from pairstream_client import Publisher, RunRecorder, Stats
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
publisher = Publisher("127.0.0.1:1", spool=sys.argv[1], exit_timeout_seconds=0)
strategy = RunRecorder(PROMPTS, publisher=publisher).propose("Print.")
for number in range(20):
    strategy.attempt(f"print({number})", compiled=True, ran=True)
stats = publisher.stats
assert (stats.queued, stats.dropped) == (22, 0), stats
assert 0 < stats.unspooled < 22, stats
"""
    done = run_script(agent, str(tmp_path / "spool"), env={})

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the spool cannot be written (") == 1
    (left,) = spools_in(tmp_path / "spool")
    assert (left.held_by, left.damaged) == (None, 0)
    assert left.events > 0


def test_a_full_spool_drops_counts_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(NO_BROKER, spool=tmp_path, spool_max_bytes=2500)
    with caplog.at_level(logging.WARNING):
        strategy = RunRecorder(PROMPTS, publisher=publisher).propose("Print.")
        for number in range(50):
            strategy.attempt(f"print({number})", compiled=True, ran=True)

    stats = publisher.stats
    assert stats.queued + stats.dropped == 52
    assert stats.dropped > 0
    publisher.close(0)
    (left,) = spools_in(tmp_path)
    assert left.events == stats.queued
    assert left.bytes <= 2500
    assert caplog.text.count("an event was dropped: the spool is full") == 1


def test_a_removed_spool_breaks_no_agent(events_topic: EventsTopic, tmp_path: Path) -> None:
    publisher = Publisher(events_topic.servers, events_topic.prefix, spool=tmp_path / "spool")
    _record(publisher, "r-1")
    _await(lambda: publisher.stats.acknowledged == 4)
    for path in sorted((tmp_path / "spool").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    _record(publisher, "r-2")

    assert publisher.close(CLOSE_SECONDS) == 0
    assert events_topic.types_by_run() == {"r-1": WHOLE_RUN, "r-2": WHOLE_RUN}


def test_a_forked_child_has_a_spool_of_its_own_and_holds_no_lock_of_its_parent_s(
    events_topic: EventsTopic, run_script: RunScript, tmp_path: Path
) -> None:
    """The parent is killed while its child lives: its events are the next process's."""
    agent = """
import os, signal, sys
from pathlib import Path
from pairstream_client import Publisher, RunRecorder
from pairstream_client.process_lock import process_lock
from pairstream_client.spool_folders import REFUSED, folders_in, holder_of

root, servers, prefix = Path(sys.argv[1]), *sys.argv[2:]
publisher = Publisher("127.0.0.1:1", spool=root)
RunRecorder(PROMPTS, run_id="parent", publisher=publisher).finish()
if os.fork() == 0:
    while any(holder_of(path) for path in folders_in(root)):
        signal.sigtimedwait([], 0.01)
    own = Publisher(servers, prefix, spool=root)
    RunRecorder(PROMPTS, run_id="child", publisher=own).finish()
    publisher.close(0)
    while own.stats.adopted < 2:
        signal.sigtimedwait([], 0.01)
    left = own.close(60)
    (root / "done").write_text(str(left))
    os._exit(left)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = tmp_path / "spool"
    done = run_script(agent, str(root), events_topic.servers, events_topic.prefix, env={})

    assert done.returncode == -9, done.stderr
    assert (root / "done").exists(), done.stderr
    ended = ["run.started", "run.finished"]
    assert events_topic.types_by_run() == {"parent": ended, "child": ended}
    assert folders_in(root) == []


def test_a_child_that_goes_on_with_its_parent_s_publisher_keeps_apart(
    events_topic: EventsTopic, run_script: RunScript, tmp_path: Path
) -> None:
    agent = """
import os, sys
from pairstream_client import Publisher, RunRecorder

publisher = Publisher(spool=sys.argv[1])
with RunRecorder(PROMPTS, run_id="parent", publisher=publisher) as run:
    await_acknowledgements(run)
    if os.fork() == 0:
        RunRecorder(PROMPTS, run_id="child", publisher=publisher).finish()
        os._exit(publisher.close(60))
    assert os.wait()[1] == 0
"""
    done = run_script(agent, str(tmp_path / "spool"), env=events_topic.environment())

    assert (done.returncode, done.stderr) == (0, "")
    ended = ["run.started", "run.finished"]
    assert events_topic.types_by_run() == {"parent": ended, "child": ended}
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_living_process_is_known(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.record("1")
    (folder,) = folders_in(tmp_path)

    assert holder_of(folder) == os.getpid()
    agent.courier.close()
    assert holder_of(folder) is None


@pytest.mark.kafka
def test_what_a_broker_finds_too_large_is_moved_aside_and_its_batch_arrives(
    apache_kafka: ApacheKafka, prefix: str, tmp_path: Path
) -> None:
    servers, name = apache_kafka.bootstrap_servers, Names(prefix).topic(RUN_EVENTS)
    topic = NewTopic(name, 1, 1, config={"max.message.bytes": "20000"})
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([topic])[name].result()
    one_batch = {"linger.ms": 500, "compression.type": "none"}
    publisher = Publisher(servers, prefix, spool=tmp_path, config=one_batch)
    strategy = RunRecorder(PROMPTS, publisher=publisher).propose("Print.")
    for number in range(10):
        strategy.attempt("#" * (30_000 if number == 4 else 100), compiled=True, ran=True)

    assert publisher.close(CLOSE_SECONDS) == 0
    assert publisher.stats == Stats(acknowledged=11, dropped=1)
    (refused,) = (tmp_path / REFUSED).read_text().splitlines()
    assert json.loads(refused)["value"]["attempt"] == 5
    consumer = Consumer({"bootstrap.servers": servers, "group.id": prefix})
    consumer.assign([TopicPartition(name, 0, 0)])
    arrived = [json.loads(record.value()) for record in consumer.consume(11, CLOSE_SECONDS)]
    consumer.close()
    attempts = [e["attempt"] for e in arrived if e["type"] == "code.attempted"]
    assert sorted(attempts) == [1, 2, 3, 4, 6, 7, 8, 9, 10]
