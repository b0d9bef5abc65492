"""Events on their way through a broker, from agents that run as processes of their own."""

import json
import re
from pathlib import Path

import pytest
from client_support import PROMPTS, EventsTopic, RunScript, header
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient

import pairstream_client
from pairstream_client import Publisher, RunRecorder, Stats
from schemas import clients
from schemas.settings import KafkaSettings
from schemas.topics import RUN_EVENTS, Names

README = Path(pairstream_client.__file__).parents[1] / "README.md"

CLOSE_SECONDS = 60.0
WHOLE_RUN = ["run.started", "strategy.proposed", "code.attempted", "run.finished"]

RUN_IDS = ["r-1", "ü", "😀" * 256, *(f"run {number}" for number in range(20))]


def test_all_events_arrive_in_the_order_of_their_run(events_topic: EventsTopic) -> None:
    publisher = Publisher(events_topic.servers, events_topic.prefix)
    runs = [RunRecorder(PROMPTS, run_id=run_id, publisher=publisher) for run_id in RUN_IDS]
    strategies = [run.propose("Print.") for run in runs]
    for number in range(5):
        for strategy in strategies:
            strategy.attempt(f"print({number})", compiled=True, ran=True, score=1.0)
    for run in runs:
        run.finish()

    assert publisher.close(CLOSE_SECONDS) == 0
    assert publisher.stats == Stats(acknowledged=8 * len(RUN_IDS))
    expected = ["run.started", "strategy.proposed", *["code.attempted"] * 5, "run.finished"]
    assert events_topic.types_by_run() == dict.fromkeys(RUN_IDS, expected)
    attempts = [json.loads(record.value()) for record in events_topic.read()]
    for run_id in RUN_IDS:
        numbers = [a["attempt"] for a in attempts if a["run_id"] == run_id and "attempt" in a]
        assert numbers == [1, 2, 3, 4, 5]


def test_headers_arrive_with_the_event(events_topic: EventsTopic) -> None:
    publisher = Publisher(events_topic.servers, events_topic.prefix)
    RunRecorder(PROMPTS, agent_id="cleaner-7", publisher=publisher)
    assert publisher.close(CLOSE_SECONDS) == 0

    (record,) = events_topic.read()
    value = json.loads(record.value())
    assert header(record, "ce_id") == value["event_id"]
    assert header(record, "ce_source") == "cleaner-7"
    assert header(record, "content-type") == "application/json"


def test_runs_lie_on_the_partitions_where_the_service_would_put_them(
    events_topic: EventsTopic,
) -> None:
    service = Producer(clients.producer(KafkaSettings(bootstrap_servers=events_topic.servers)))
    partitions: dict[bytes, set[int]] = {}

    def note(error: object, record: Message) -> None:
        assert error is None
        partitions.setdefault(record.key(), set()).add(record.partition())

    publisher = Publisher(events_topic.servers, events_topic.prefix)
    for run_id in RUN_IDS:
        RunRecorder(PROMPTS, run_id=run_id, publisher=publisher).finish()
        service.produce(events_topic.name, b"{}", run_id.encode(), on_delivery=note)
    assert service.flush(CLOSE_SECONDS) == 0
    assert publisher.close(CLOSE_SECONDS) == 0

    for record in events_topic.read():
        partitions[record.key()].add(record.partition())
    assert [len(found) for found in partitions.values()] == [1] * len(RUN_IDS)
    assert len(set.union(*partitions.values())) > 1


def test_events_of_a_topic_that_comes_later_wait_for_it(embedded_broker: str, prefix: str) -> None:
    publisher = Publisher(embedded_broker, prefix)
    RunRecorder(PROMPTS, run_id="r-1", publisher=publisher).finish()

    topic = EventsTopic(embedded_broker, prefix)

    assert publisher.close(CLOSE_SECONDS) == 0
    assert topic.types_by_run() == {"r-1": ["run.started", "run.finished"]}


def test_no_agent_makes_the_topic_and_the_log_says_who_does(
    embedded_broker: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    patience = {"topic.metadata.propagation.max.ms": 500}
    publisher = Publisher(embedded_broker, prefix, config=patience)
    RunRecorder(PROMPTS, publisher=publisher).finish()

    assert publisher.close(CLOSE_SECONDS) == 0
    assert publisher.stats == Stats(failed=2)
    assert caplog.text.count("`pairstream topics apply` makes it") == 1
    found = AdminClient({"bootstrap.servers": embedded_broker}).list_topics(timeout=30)
    assert Names(prefix).topic(RUN_EVENTS) not in found.topics


def test_the_end_of_the_process_sends_what_is_queued(
    events_topic: EventsTopic, run_script: RunScript
) -> None:
    agent = """
from pairstream_client import RunRecorder
with RunRecorder(PROMPTS, run_id="r-1") as run:
    run.propose("Fail.").attempt("print()", compiled=True, ran=True)
    raise SystemExit(7)
"""
    done = run_script(agent, env=events_topic.environment())

    assert (done.returncode, done.stderr) == (7, "")
    assert events_topic.types_by_run() == {"r-1": WHOLE_RUN}


def test_the_end_of_the_process_waits_for_no_absent_broker(run_script: RunScript) -> None:
    agent = """
from pairstream_client import Publisher, RunRecorder
publisher = Publisher("127.0.0.1:1", exit_timeout_seconds=0.1)
RunRecorder(PROMPTS, publisher=publisher).finish()
"""
    done = run_script(agent, env={})

    assert done.returncode == 0
    assert "closed before 2 events were acknowledged" in done.stderr


def test_a_forked_child_has_a_connection_of_its_own(
    events_topic: EventsTopic, run_script: RunScript
) -> None:
    agent = """
import os, sys
from pairstream_client import RunRecorder

def record(run):
    run.propose("Print.").attempt("print()", compiled=True, ran=True)

with RunRecorder(PROMPTS, run_id="parent") as run:
    await_acknowledgements(run)
    if os.fork() == 0:
        with RunRecorder(PROMPTS, run_id="child") as own:
            record(own)
        assert own.publisher is run.publisher
        assert sum(vars(own.publisher.stats).values()) == 4, own.publisher.stats
        sys.exit(7)
    _, status = os.wait()
    assert os.waitstatus_to_exitcode(status) == 7, status
    record(run)
"""
    done = run_script(agent, env=events_topic.environment())

    assert (done.returncode, done.stderr) == (0, "")
    assert events_topic.types_by_run() == {"parent": WHOLE_RUN, "child": WHOLE_RUN}


def test_forks_amid_recording_threads_leave_every_child_able_to_record(
    events_topic: EventsTopic, run_script: RunScript
) -> None:
    agent = """
import os, threading
from pairstream_client import Publisher, RunRecorder

forked = threading.Event()
busy = RunRecorder(PROMPTS, publisher=Publisher(topic_prefix="no such prefix"))
strategy = busy.propose("Print.")

def work():
    while not forked.is_set():
        strategy.attempt("print()", compiled=True, ran=True)

with RunRecorder(PROMPTS, run_id="parent") as run:
    await_acknowledgements(run)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        if os.fork() == 0:
            with RunRecorder(PROMPTS, run_id=f"child {number}") as own:
                own.propose("Print.").attempt("print()", compiled=True, ran=True)
            os._exit(own.publisher.close(60))
        assert os.wait()[1] == 0
    forked.set()
    for thread in threads:
        thread.join()
"""
    done = run_script(agent, env=events_topic.environment())

    assert done.returncode == 0, done.stderr
    children = {f"child {number}": WHOLE_RUN for number in range(5)}
    assert events_topic.types_by_run() == {"parent": ["run.started", "run.finished"]} | children


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_children_of_multiprocessing_send_what_is_queued_when_they_end(
    start_method: str, events_topic: EventsTopic, run_script: RunScript
) -> None:
    agent = """
import multiprocessing, sys
from pairstream_client import RunRecorder

def work(run_id):
    with RunRecorder(PROMPTS, run_id=run_id) as run:
        run.propose("Print.").attempt("print()", compiled=True, ran=True)
    return run

if __name__ == "__main__":
    await_acknowledgements(work("parent"))
    child = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=["child"])
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""
    done = run_script(agent, start_method, env=events_topic.environment())

    assert (done.returncode, done.stderr) == (0, "")
    assert events_topic.types_by_run() == {"parent": WHOLE_RUN, "child": WHOLE_RUN}


def test_the_readme_s_example_runs(events_topic: EventsTopic, run_script: RunScript) -> None:
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None

    done = run_script(example[1], env=events_topic.environment())

    assert (done.returncode, done.stderr) == (0, "")
    (types,) = events_topic.types_by_run().values()
    assert types == [*WHOLE_RUN[:3], "code.attempted", "run.finished"]
