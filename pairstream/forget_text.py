"""What was found of runs that are to be forgotten, as text for people."""

import json
from collections.abc import Iterator

from pairstream.forget_facts import StateTraces, TopicTraces, Traces
from pairstream.terminal import counted, printable, shortened, shown_time

ID_WIDTH = 80


def traces_lines(traces: Traces) -> Iterator[str]:
    yield f"{counted(len(traces.runs), 'run')} to forget"
    yield from (f"  {shortened(printable(run_id), ID_WIDTH)}" for run_id in traces.runs)
    for topic in traces.topics:
        yield _topic_line(topic)
    yield from _state_lines(traces.state)
    for segment in traces.segments:
        yield f"segment {segment.segment}: {counted(segment.pairs, 'pair')}"
    for dataset in traces.datasets:
        pairs = counted(sum(dataset.pairs.values()), "pair")
        yield f"dataset {dataset.dataset}: {pairs} of {counted(len(dataset.pairs), 'run')}"
    for model in traces.models:
        yield f"model {model}: learnt from them"
    yield from _deletion_lines(traces)


def _topic_line(topic: TopicTraces) -> str:
    until = "kept for ever"
    if topic.kept == "unknown":
        until = "kept as long as the brokers, which do not let us see it, keep it"
    if topic.gone_after is not None:
        until = f"gone some time after {shown_time(topic.gone_after)}"
    return f"topic {topic.topic}: {counted(topic.records, 'record')}, {until}"


def _state_lines(state: StateTraces) -> Iterator[str]:
    if state.open_events:
        events = counted(state.open_events, "event")
        yield f"state: {events} of open runs, gone when they are settled and the topic is compacted"
    if state.settled_marks:
        marks = counted(state.settled_marks, "mark")
        yield (
            f"state: {marks} of settled runs, without text, gone after "
            "PAIRSTREAM_SETTLED_RUN_MEMORY_SECONDS"
        )


def _deletion_lines(traces: Traces) -> Iterator[str]:
    """What Kafka deletes is all that lies before an offset, of every run."""
    kept = [topic for topic in traces.topics if topic.kept == "for_ever"]
    if not kept:
        return
    places = [
        {"topic": topic.topic, "partition": partition, "offset": end}
        for topic in kept
        for partition, end in topic.ends.items()
    ]
    yield "what is kept for ever goes only with all that lies before it, of every run, by"
    yield "  kafka-delete-records.sh --bootstrap-server ... --offset-json-file this.json"
    yield f"  {json.dumps({'partitions': places, 'version': 1})}"
