"""What OTLP/HTTP requests are answered."""

import gzip
import io
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from pairstream.bridge.requests import (
    JSON,
    PROTOBUF,
    Refused,
    body_of,
    content_type_of,
    export_in,
    length_of,
    refused,
    scores_in,
)
from pairstream.formats.exports import read_export
from pairstream.formats.spans import Note
from tests.formats.reading import RECORDED

MOST = 1_000_000
EXPORT = (RECORDED / "openinference" / "openai_agents.jsonl").read_bytes()
IN_PROTOBUF = (RECORDED / "openinference" / "openai_agents.pb").read_bytes()


def refusal(call: Any, *args: object) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        call(*args)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize("given", [JSON, "Application/JSON; charset=utf-8", PROTOBUF])
def test_content_types_of_otlp_are_taken(given: str) -> None:
    assert content_type_of({"Content-Type": given}) in (JSON, PROTOBUF)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
def test_other_content_types_are_refused(headers: dict[str, str]) -> None:
    assert refusal(content_type_of, headers)[0] == 415


@pytest.mark.parametrize(
    ("given", "status"),
    [(None, 411), ("", 411), ("-1", 411), ("٣", 411), ("101", 413), ("9" * 30, 413)],
)
def test_length_must_be_told_and_small_enough(given: str | None, status: int) -> None:
    headers = {} if given is None else {"Content-Length": given}

    assert refusal(length_of, headers, 100)[0] == status


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", b"0123456789"),
        (b"0\r\n\r\n", b""),
    ],
)
def test_body_may_come_in_chunks(sent: bytes, body: bytes) -> None:
    stream = io.BytesIO(sent + b"next")

    assert body_of({"Transfer-Encoding": "chunked"}, stream, 10) == body
    assert stream.read() == b"next"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"b\r\n0123456789a\r\n0\r\n\r\n", 413),
        (b"6\r\n012345\r\n5\r\n", 413),
        (b"x\r\n", 400),
        (b"", 400),
    ],
)
def test_chunks_that_are_too_large_or_none_are_refused(sent: bytes, status: int) -> None:
    chunked = {"Transfer-Encoding": "chunked"}

    assert refusal(body_of, chunked, io.BytesIO(sent), 10)[0] == status


@pytest.mark.parametrize(("body", "kind"), [(EXPORT, JSON), (IN_PROTOBUF, PROTOBUF)])
def test_export_is_kept_as_it_was_sent_plain_or_zipped(body: bytes, kind: str) -> None:
    assert export_in(body, {}, kind, MOST) == body
    zipped = gzip.compress(body)
    assert export_in(zipped, {"Content-Encoding": "gzip"}, kind, MOST) == body


@pytest.mark.parametrize(
    ("body", "headers", "kind", "status"),
    [
        (b"nope", {}, JSON, 400),
        (b"{}", {}, JSON, 400),
        (b"\xff\xff", {}, PROTOBUF, 400),
        (EXPORT, {"Content-Encoding": "gzip"}, JSON, 400),
        (gzip.compress(EXPORT)[:-20], {"Content-Encoding": "gzip"}, JSON, 400),
        (EXPORT, {"Content-Encoding": "br"}, JSON, 415),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(
    body: bytes, headers: dict[str, str], kind: str, status: int
) -> None:
    assert refusal(export_in, body, headers, kind, MOST)[0] == status


def test_small_body_that_unzips_to_a_large_one_is_refused() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < MOST

    assert refusal(export_in, bomb, {"Content-Encoding": "gzip"}, JSON, MOST)[0] == 413


SCORE = {
    "traceId": "A" * 32,
    "spanId": "b" * 16,
    "eventName": "gen_ai.evaluation.result",
    "attributes": [
        {"key": "gen_ai.evaluation.name", "value": {"stringValue": "freed"}},
        {"key": "gen_ai.evaluation.score.value", "value": {"intValue": "3"}},
        {"key": "gen_ai.evaluation.explanation", "value": {"stringValue": "a text"}},
    ],
}


def logs(*records: dict[str, Any]) -> bytes:
    return orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})


def in_protobuf(*records: dict[str, Any]) -> bytes:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for record in records:
        log = scope.log_records.add(event_name=record["eventName"])
        log.trace_id, log.span_id = (
            bytes.fromhex(record["traceId"]),
            bytes.fromhex(record["spanId"]),
        )
        for told in record["attributes"]:
            value = log.attributes.add(key=told["key"]).value
            if text := told["value"].get("stringValue"):
                value.string_value = text
            else:
                value.int_value = int(told["value"]["intValue"])
    return request.SerializeToString()


OTHERS = (
    {**SCORE, "eventName": "gen_ai.client.inference.operation.details"},
    {**SCORE, "spanId": ""},
    {**SCORE, "traceId": ""},
)


@pytest.mark.parametrize(("write", "kind"), [(logs, JSON), (in_protobuf, PROTOBUF)])
def test_of_logs_the_scores_of_spans_are_kept_alone(write: Any, kind: str) -> None:
    kept = scores_in(gzip.compress(write(SCORE, *OTHERS)), {"Content-Encoding": "gzip"}, kind, MOST)

    assert kept is not None
    [note] = read_export(kept, "inbox")
    assert note == Note(
        "a" * 32,
        "b" * 16,
        "gen_ai.evaluation.result",
        {"gen_ai.evaluation.name": "freed", "gen_ai.evaluation.score.value": 3.0},
    )
    assert scores_in(write(*OTHERS), {}, kind, MOST) is None
    assert scores_in(write(), {}, kind, MOST) is None


@pytest.mark.parametrize(
    "score", [{"stringValue": "much"}, {"doubleValue": "NaN"}, {"boolValue": True}, {}]
)
def test_scores_that_are_no_numbers_are_none(score: dict[str, object]) -> None:
    told = {"key": "gen_ai.evaluation.score.value", "value": score}
    kept = scores_in(logs({**SCORE, "attributes": [told]}), {}, JSON, MOST)

    assert kept is not None
    [note] = read_export(kept, "inbox")
    assert note.attributes.get("gen_ai.evaluation.score.value") is None


def test_a_number_that_no_double_holds_is_refused_at_once() -> None:
    told = {"key": "gen_ai.evaluation.score.value", "value": {"intValue": "9" * 400}}
    body = logs({**SCORE, "attributes": [told]})

    assert refusal(scores_in, body, {}, JSON, MOST) == (
        400, "no OTLP/JSON: a whole number has more than 64 bits"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("why", "reason"),
    [("only this is here", True), ("a\r\nSet-Cookie: x", False), ("größer", False)],
)
def test_why_stands_in_the_status_line_where_it_fits_there(why: str, reason: bool) -> None:
    answer = refused(Refused(404, why))

    assert answer.body.decode() == f"{why}\n"
    assert answer.reason == (why if reason else None)
