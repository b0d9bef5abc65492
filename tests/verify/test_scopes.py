"""`pairstream verify` for a part of what is there: one run, a time, a sender's ledger."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.verify.everything import verify
from pairstream.verify.report import Report
from pairstream.verify.snapshot import Scope
from schemas.errors import PairstreamError
from schemas.settings import PairingSettings
from schemas.topics import RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from tests.commands.deployment import finished, mixed_run, started
from tests.verify.healthy import Damageable, Written, findings, live_through

Line = dict[str, Any]


def states(report: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["state"] for check in report["checks"]}


# --- One run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_id", ["m-1", "f-1", "n-1", "o-1", "m-4"])
def test_one_run_is_found_whole(deployment: Damageable, run_id: str) -> None:
    live_through(deployment)

    report = deployment.verify("--run", run_id)

    assert findings(report) == {}
    assert report["events"].get("settled_runs", 0) == (run_id != "o-1")


def test_of_one_run_only_its_own_faults_are_named(deployment: Damageable) -> None:
    def loses_m_1(written: Written) -> list[Written]:
        return [] if written.key == b"m-1" else [written]

    deployment.changes[deployment.names.topic(SCORED_ROWS)] = loses_m_1
    live_through(deployment)

    assert list(findings(deployment.verify("--run", "m-1"))) == ["scored_rows"]
    assert findings(deployment.verify("--run", "m-2")) == {}


# --- Since a time --------------------------------------------------------------------------------


def verify_since(deployment: Damageable, since: datetime) -> Report:
    settings = PairingSettings(
        bootstrap_servers=deployment.settings.bootstrap_servers,
        topic_prefix=deployment.settings.topic_prefix,
    )
    return verify(settings, deployment.data, Scope(since=since), None, lambda _topic, _done: None)


def test_since_a_time_older_runs_are_left_out_and_younger_ones_are_not(
    deployment: Damageable,
) -> None:
    def loses_outcomes(written: Written) -> list[Written]:
        return [] if written.key in (b"m-1", b"m-3") else [written]

    deployment.changes[deployment.names.topic(RUN_OUTCOMES)] = loses_outcomes
    live_through(deployment)
    events = deployment.records(deployment.names.topic(RUN_EVENTS))
    began = min(message.timestamp()[1] for message in events if message.key() == b"m-2")
    since = datetime.fromtimestamp(began / 1000, UTC)

    report = verify_since(deployment, since)

    broken = {c.check: [f.id for f in c.findings] for c in report.checks if c.state == "broken"}
    assert broken == {"outcomes": ["m-3"]}
    assert report.events["settled_runs"] == 4  # m-2, f-2, m-3, m-4


def test_since_tomorrow_there_is_nothing_to_complain_of(deployment: Damageable) -> None:
    live_through(deployment)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")

    report = deployment.verify("--since", tomorrow)

    assert findings(report) == {}
    assert report["events"] == {"open_runs": 0, "events_of_open_runs": 0}


# --- The senders' ledger -------------------------------------------------------------------------


def ledger_of(deployment: Damageable) -> list[Line]:
    """What the senders were told: events by id where they have one, else by their bytes."""
    lines: list[Line] = []
    for message in deployment.records(deployment.names.topic(RUN_EVENTS)):
        value = message.value()
        line: Line = {"result": "acknowledged", "partition": message.partition()}
        line |= {"offset": message.offset(), "run_id": message.key().decode()}
        try:
            event_id = json.loads(value).get("event_id")
        except ValueError:
            event_id = None
        if event_id:
            line["event_id"] = event_id
        else:
            line |= {"key": message.key().decode(), "sha256": hashlib.sha256(value).hexdigest()}
        lines.append(line)
    return lines


def verify_ledger(deployment: Damageable, lines: list[Line], folder: Path) -> dict[str, Any]:
    path = folder / "ledger.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return deployment.verify("--ledger", path)


def test_a_true_ledger_holds(deployment: Damageable, tmp_path: Path) -> None:
    live_through(deployment)
    start, end = started("e-1", event_id="one"), finished("e-1") | {"event_id": "two"}
    deployment.say(start, end)
    lines = ledger_of(deployment)
    lines += [{"result": "failed", "run_id": "e-1", "event_id": "three"}]
    lines += [{"result": "unknown", "run_id": "e-1", "event_id": "four"}]

    report = verify_ledger(deployment, lines, tmp_path)

    assert findings(report) == {}
    acknowledged = report["checks"][0]
    assert (acknowledged["state"], acknowledged["checked"]) == ("holds", len(lines) - 2)


def test_an_acknowledged_event_that_is_not_there_is_named(
    deployment: Damageable, tmp_path: Path
) -> None:
    deployment.say(*mixed_run("m-1"))
    lost = {"run_id": "m-1", "event_id": "lost", "partition": 0, "offset": 10_000}
    lines = [*ledger_of(deployment), {"result": "acknowledged", **lost}]

    found = findings(verify_ledger(deployment, lines, tmp_path))

    at = f"{deployment.names.topic(RUN_EVENTS)}/0/10000"
    what = "an acknowledged event that is not there"
    assert found == {"acknowledged": [{"what": what, "id": "m-1 lost", "at": at}]}


def test_another_event_than_the_acknowledged_one_is_named(
    deployment: Damageable, tmp_path: Path
) -> None:
    [(partition, offset)] = deployment.say(started("m-1", event_id="one"))
    line = {"run_id": "m-1", "event_id": "two", "partition": partition, "offset": offset}

    found = findings(verify_ledger(deployment, [{"result": "acknowledged", **line}], tmp_path))

    at = f"{deployment.names.topic(RUN_EVENTS)}/{partition}/{offset}"
    what = "another event than the one that was acknowledged there"
    assert found == {"acknowledged": [{"what": what, "id": "m-1 two", "at": at}]}


def test_an_event_that_came_again_is_told_and_no_fault(
    deployment: Damageable, tmp_path: Path
) -> None:
    event = started("m-1", event_id="one")
    first, _again = deployment.say(event, event)
    line = {"run_id": "m-1", "event_id": "one", "result": "acknowledged"}
    place = {"partition": first[0], "offset": first[1]}

    report = verify_ledger(deployment, [line | place], tmp_path)

    assert findings(report) == {}
    assert report["checks"][0]["note"].endswith("which changes nothing: 1")


def test_an_event_that_is_there_although_its_send_failed_is_named(
    deployment: Damageable, tmp_path: Path
) -> None:
    [(partition, offset)] = deployment.say(started("m-1", event_id="one"))
    line = {"run_id": "m-1", "event_id": "one", "result": "failed"}

    found = findings(verify_ledger(deployment, [line], tmp_path))

    at = f"{deployment.names.topic(RUN_EVENTS)}/{partition}/{offset}"
    what = "an event that is there although its sends failed"
    assert found == {"acknowledged": [{"what": what, "id": "m-1 one", "at": at}]}


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON",
        b'{"run_id": "r"}',
        b'{"run_id": "\xff", "result": "failed", "event_id": "e"}',
        b'{"unknown": ' + b"[" * 5000,
        b'{"run_id": "r", "result": "acknowledged", "event_id": "e"}',
        b'{"run_id": "r", "result": "acknowledged", "partition": 0, "offset": 0}',
    ],
)
def test_a_ledger_that_cannot_be_read_is_named_with_its_line(
    deployment: Damageable, tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"run_id": "r", "result": "failed", "event_id": "e"}\n' + line + b"\n")

    with pytest.raises(PairstreamError, match=r"ledger\.jsonl line 2"):
        deployment.run("verify", "--ledger", path)


# --- What people see -----------------------------------------------------------------------------


def test_people_see_a_line_for_each_check_and_what_breaks_it(deployment: Damageable) -> None:
    def loses_n_1(written: Written) -> list[Written]:
        return [] if written.key == b"n-1" else [written]

    deployment.changes[deployment.names.topic(RUN_OUTCOMES)] = loses_n_1
    live_through(deployment)

    done = CliRunner().invoke(cli, ["verify"], env=deployment.env)

    assert isinstance(done.exception, PairstreamError)
    assert str(done.exception) == "1 check does not hold (I2): see above"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("events read: 40 (7 runs settled, 1 open, 28 taken in")
    at = next(place for place, line in enumerate(lines) if "BROKEN" in line)
    assert lines[at].startswith("I2   each settled run has its one outcome")
    assert lines[at + 1] == "     ! an outcome is missing · n-1"
    assert sum(" holds " in line for line in lines) == 12


def test_ids_of_strangers_do_not_steer_the_terminal(deployment: Damageable) -> None:
    row = {"run_id": "\x1b[2Jgone", "reason": None}
    deployment.send(deployment.names.topic(RUN_OUTCOMES), b"x", json.dumps(row).encode())

    done = CliRunner().invoke(cli, ["verify"], env=deployment.env)

    assert "\x1b" not in done.stdout
    assert r"\x1b[2Jgone" in done.stdout
