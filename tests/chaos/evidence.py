"""Gathers what topics and datasets hold in the end, and holds it against what must be there."""

from pathlib import Path
from typing import Any

import orjson

from schemas.topics import (
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    TOPICS,
    Topic,
)
from tests.chaos.checks import (
    Found,
    check_datasets,
    check_events,
    check_letters,
    check_rebuilt,
    check_rows,
)
from tests.chaos.expected import Stored, expect
from tests.chaos.ledger import HEADER, Ledger
from tests.chaos.state import check_state
from tests.kafka.services import Deployment
from tests.trainer import invariants


def stored(deployment: Deployment, topic: str) -> list[Stored]:
    """Every record of a topic."""
    return [_stored(message) for message in deployment.messages(topic)]


def _stored(message: Any) -> Stored:
    headers = tuple(message.headers() or ())
    ids = [value.decode() for name, value in headers if name == HEADER]
    return Stored(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        ids[0] if ids else None,
        headers,
    )


def examine(
    deployment: Deployment, ledger: Ledger, figures: dict[str, object], *, forgets: bool
) -> Found:
    """Every check of topics and files; `figures` are filled with counts.

    Args:
        forgets: workers were told to forget settled runs within the trial.
    """
    entries = ledger.entries
    log = stored(deployment, deployment.names.topic(RUN_EVENTS))
    expected = expect(log, bad={entry.send_id for entry in entries if entry.is_bad})
    found = check_events(entries, log)
    for topic, rows, key in (
        (RUN_OUTCOMES, expected.outcomes, "run_id"),
        (SCORED_ROWS, expected.scored_rows, "row_id"),
        (PAIRS, expected.pairs, "pair_id"),
    ):
        found += check_rows(topic.name, values(deployment, topic), rows, key=key)
    letters = stored(deployment, deployment.names.dead_letters(RUN_EVENTS))
    found += check_letters(letters, log, expected.letters)
    for topic in (GARBLE_REQUESTS, PAIRS):
        refused = deployment.dead_letters(topic)
        found.wrong += [f"{len(refused)} dead letters of {topic.name}"] if refused else []
    changelog = stored(deployment, deployment.names.state_changelog)
    found += check_state(changelog, log, expected, forgets=forgets)
    found += _examine_files(deployment)
    figures |= {
        "events_in_the_topic": len(log),
        "runs_settled": len(expected.outcomes),
        "of_these_by_timeout": sum(
            row["settled_by"] == "timeout" for row in expected.outcomes.values()
        ),
        "scored_rows": len(expected.scored_rows),
        "pairs": len(expected.pairs),
        "dead_letters": len(expected.letters),
        "state_records": len(changelog),
        "datasets": len(invariants.datasets(deployment.folder / "data")),
    }
    return found


def _examine_files(deployment: Deployment) -> Found:
    root = deployment.folder / "data"
    lines = invariants.all_lines(root)
    found = check_datasets(lines, values(deployment, PAIRS))
    for source in ("events", "pairs"):
        folder = deployment.folder / f"from-{source}"
        rebuilt = invariants.lines(folder) if folder.is_dir() else []
        found += check_rebuilt(source, rebuilt, lines)
    name = deployment.names.topic(PAIRS)
    pairs = stored(deployment, name)
    ends = {p: 0 for p in range(deployment.settings.partitions)}
    ends |= {record.partition: record.offset + 1 for record in pairs}
    try:
        invariants.assert_sound(root, ends=ends)
    except AssertionError as error:
        found.wrong.append(f"the data directory is not sound: {error!r}")
    return found


def values(deployment: Deployment, topic: Topic) -> list[bytes]:
    return [record.value or b"" for record in stored(deployment, deployment.names.topic(topic))]


def write_dump(deployment: Deployment, folder: Path) -> None:
    """Topics as JSON lines, for people; bytes that are no text are shown as such."""
    folder.mkdir()
    names = [deployment.names.topic(topic) for topic in TOPICS]
    for name in [*names, deployment.names.state_changelog]:
        lines = [orjson.dumps(_readable(record)) for record in stored(deployment, name)]
        (folder / f"{name}.jsonl").write_bytes(b"\n".join(lines))


def _readable(record: Stored) -> dict[str, object]:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": repr(record.key),
        "value": None if record.value is None else record.value.decode(errors="backslashreplace"),
        "headers": {name: repr(value) for name, value in record.headers},
    }
