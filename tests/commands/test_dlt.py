"""`pairstream dlt` as a whole: how times and places are written, and what cannot be."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from confluent_kafka import Producer

from pairstream.commands.dlt import MomentType, PlaceType, command
from pairstream.letters import Letter, Place, as_place, letter_topics
from schemas import clients, dead_letters
from schemas.dead_letters import Header, Origin
from schemas.topics import RUN_EVENTS, Names
from tests.commands.deployment import Deployment
from tests.conftest import Pairstream

EVENTS = RUN_EVENTS.name
TIME = datetime(2026, 11, 23, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
BAD_EVENT = b'{"type": "run.started", "run_id": "r-1"}'


def refuse_bad_event(deployment: Deployment, run_id: str = "r-1") -> tuple[int, int]:
    """An event without its prompts, which every worker refuses; returns its place."""
    place = deployment.send(deployment.names.topic(RUN_EVENTS), run_id.encode(), BAD_EVENT)
    deployment.settle()
    return place


def write_letter(
    deployment: Deployment,
    key: bytes | None,
    value: bytes | None = BAD_EVENT,
    *,
    time: datetime = TIME,
    reason: str = "invalid_event",
    detail: str = "it is bad",
    original: Sequence[Header] = (),
    partition: int = 0,
) -> str:
    """A dead letter as a service writes it at that time; returns its place."""
    topic = deployment.names.dead_letters(RUN_EVENTS)
    origin = Origin(deployment.names.topic(RUN_EVENTS), 3, 18)
    headers = dead_letters.headers(
        origin, reason=reason, detail=detail, service="pairstream-worker", original=original
    )
    places: list[str] = []
    producer = Producer(clients.producer(deployment.settings) | {"enable.idempotence": False})
    producer.produce(
        topic,
        value,
        key,
        partition,
        headers=headers,
        timestamp=int(time.timestamp() * 1000),
        on_delivery=lambda _, message: places.append(f"{topic}/{partition}/{message.offset()}"),
    )
    producer.flush()
    return places[0]


def letters(deployment: Deployment, *flags: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployment.run_json("dlt", "list", *flags)["letters"]
    return found


def place_of(letter: dict[str, Any]) -> str:
    return f"{letter['topic']}/{letter['partition']}/{letter['offset']}"


def made_letter(offset: int, **fields: Any) -> Letter:
    """Each a minute later than the one before."""
    usual = dict.fromkeys(Letter.__struct_fields__) | {
        "topic": "t-dlt",
        "partition": 0,
        "offset": offset,
        "time": TIME + timedelta(minutes=offset),
        "reason": "invalid_event",
        "detail": "",
        "is_cut": False,
        "sha256": "of the record",
    }
    return Letter(**{**usual, **fields})


# Letter 0 was re-sent and came back as 2, which was re-sent and came back as 3; 1 never was.
HISTORY = [
    made_letter(0, key="r-1"),
    made_letter(1, reason="run_settled", key="r-2", run_id="r-1"),
    made_letter(2, replayed_from="t-dlt/0/0"),
    made_letter(3, reason="run_settled", run_id="r-3", replayed_from="t-dlt/0/2"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["replay", "--at", "0:1"], 2, "0:1 is no TOPIC/PARTITION/OFFSET such as"),
        (["replay", "--at", f"{EVENTS}-dlt/0/99"], 1, f"no such dead letter at {EVENTS}-dlt/0/99"),
        (["show", "0:1"], 2, "0:1 is no TOPIC/PARTITION/OFFSET such as"),
        (["show", f"{EVENTS}/0/1"], 1, f"no dead letter at {EVENTS}/0/1"),
        (["show", f"{EVENTS}-dlt/0/1", "--raw", "--json"], 2, "exclude each other"),
        (["list", "--topic", "pairstream.scored-rows.v1"], 2, "has no dead letters: choose one"),
        (["list", "--since", "yesterday"], 2, "yesterday is not a time such as"),
        (["list", "--since", "1h", "--until", "2h"], 2, "--since is not before --until"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    pairstream: Pairstream, deployment: Deployment, arguments: list[str], code: int, said: str
) -> None:
    done = pairstream("dlt", *arguments, env=deployment.env, check=False)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["show", f"{EVENTS}-dlt/0/0"], ["replay"]])
def test_without_topics_the_command_that_makes_them_is_named(
    pairstream: Pairstream, embedded_broker: str, prefix: str, arguments: list[str]
) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker, "PAIRSTREAM_TOPIC_PREFIX": prefix}

    done = pairstream("dlt", *arguments, env=env, check=False)

    assert done.returncode == 1
    assert "run `pairstream topics apply`" in done.stderr


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T21:30:00", datetime(2026, 11, 24, 21, 30, tzinfo=UTC)),
        ("2026-11-24T21:30:00Z", datetime(2026, 11, 24, 21, 30, tzinfo=UTC)),
        ("2026-11-24T21:30:00.5+02:00", datetime(2026, 11, 24, 19, 30, 0, 500000, tzinfo=UTC)),
        ("0001-01-01", datetime(1970, 1, 1, tzinfo=UTC)),  # no record is older than this
        ("999999d", None),
        ("2026-13-01", None),
        ("2 h", None),
        ("-2h", None),
        ("", None),
    ],
)
def test_a_time_is_written_as_in_rfc_3339(written: str, time: datetime | None) -> None:
    try:
        read = MomentType().convert(written, None, None)
    except click.BadParameter:
        read = None

    assert read == time


@pytest.mark.parametrize(
    ("written", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_span_is_so_long_ago(written: str, span: timedelta) -> None:
    before = datetime.now(UTC)
    read = MomentType().convert(written, None, None)

    assert before - span <= read <= datetime.now(UTC) - span


@pytest.mark.parametrize("place", [Place("t-dlt", 0, 17), Place("p.t-dlt", 2**31 - 1, 2**63 - 1)])
def test_a_place_is_read_as_it_is_shown(place: Place) -> None:
    assert as_place(str(place)) == place
    assert PlaceType().convert(str(place), None, None) == place


@pytest.mark.parametrize(
    "written", ["0:17", "t/0", "t/0/", "t/0/-1", "/0/1", "t/t/0/1", "t/٣/1", "t/0/" + "9" * 5000]
)
def test_what_is_written_otherwise_is_no_place(written: str) -> None:
    assert as_place(written) is None


@pytest.mark.parametrize(
    "asked",
    [EVENTS, f"{EVENTS}-dlt", f"p.{EVENTS}", f"p.{EVENTS}-dlt"],
)
def test_a_topic_may_be_named_as_it_is_shown_anywhere(asked: str) -> None:
    assert letter_topics(Names("p."), asked) == {f"p.{EVENTS}-dlt": f"p.{EVENTS}"}


def test_a_topic_without_dead_letters_is_refused_with_the_choices() -> None:
    with pytest.raises(click.UsageError, match=EVENTS):
        letter_topics(Names("p."), "q." + EVENTS)


@pytest.mark.parametrize("name", ["list", "show", "replay"])
def test_help_has_an_example(name: str) -> None:
    shown = command.get_command(click.Context(command), name)
    assert shown is not None
    assert "Example" in (shown.help or "")
    assert f"pairstream dlt {name} " in (shown.help or "")
