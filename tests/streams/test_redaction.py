"""What is taken out of texts before rows are made of them, and what stays."""

import sys
from collections import Counter
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidSettings
from schemas.rows import encode
from schemas.settings import PairingSettings, WorkerSettings, convert
from schemas.topics import PAIRS, RUN_OUTCOMES
from streams import redaction_program
from streams.partition import Partition
from streams.redaction import PROGRAM, Redactor, open_redactor, redact
from streams.redaction_patterns import PATTERNS, Pattern
from streams.redaction_program import NotRedacted, RedactionProgram
from tests.streams.histories import CRASHED, MODEST, attempted, finished, ok, proposed, started

SECRETS = tuple(pattern for pattern in PATTERNS if pattern.group == "secrets")

# Put together here, so that nothing takes this file for a leak.
KEY = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\nIBAAKC+/=\n-----END RSA PRIVATE " + "KEY-----"
OLD_KEY = KEY.replace("\nMIIEow", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\nMIIEow")
PGP_KEY = (
    "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----\nVersion: GnuPG v2\nComment: Tools - http://t.org\n"
    "\nlQOYBF+/\n=abcd\n-----END PGP PRIVATE " + "KEY BLOCK-----"
)
AWS_KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
CARD = "[REDACTED:card_number]"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxIn0" + ".c2lnbmF0dXJl"

# Text, and what becomes of it.
FOUND: list[tuple[str, str]] = [
    (f"a = '''{KEY}'''", "a = '''[REDACTED:private_key]'''"),
    (f"{OLD_KEY}\nx", "[REDACTED:private_key]\nx"),
    (KEY.partition("\n-----END")[0], "[REDACTED:private_key]"),
    (f"t = \"{JWT}\"", "t = \"[REDACTED:jwt]\""),
    ("id AKIA" + "IOSFODNN7EXAMPLE.", "id [REDACTED:aws_access_key]."),
    (f"k = '{PGP_KEY}' - x", "k = '[REDACTED:private_key]' - x"),
    (PGP_KEY.replace("\n", "\\n") + "\\n - x", "[REDACTED:private_key]\\n - x"),
    (PGP_KEY.partition("\n-----END")[0], "[REDACTED:private_key]"),
    (f"aws_secret_access_key = {AWS_KEY}", "aws_secret_access_key = [REDACTED:aws_secret_key]"),
    (f'"SecretAccessKey": "{AWS_KEY}"', '"SecretAccessKey": "[REDACTED:aws_secret_key]"'),
    (
        f'{{\\"SecretAccessKey\\": \\"{AWS_KEY}\\"',
        '{\\"SecretAccessKey\\": \\"[REDACTED:aws_secret_key]\\"',
    ),
    (f'aws_secret_access_key=\\"{AWS_KEY}', 'aws_secret_access_key=\\"[REDACTED:aws_secret_key]'),
    (f'aws_secret_key=\\\\"{AWS_KEY}', 'aws_secret_key=\\\\"[REDACTED:aws_secret_key]'),
    ("print('a\\nghp_" + "a1" * 18 + "')", "print('a\\n[REDACTED:api_key]')"),
    (
        "'\\t" + JWT + "\\nAKIA" + "IOSFODNN7EXAMPLE'",
        "'\\t[REDACTED:jwt]\\n[REDACTED:aws_access_key]'",
    ),
    ("ghp_" + "a1" * 18, "[REDACTED:api_key]"),
    ("github_pat_" + "1A_b" * 20, "[REDACTED:api_key]"),
    ("sk-ant-" + "api03-" + "x1" * 20, "[REDACTED:api_key]"),
    ("sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "[REDACTED:api_key]"),
    ("xoxb-" + "123456789012-abcdef", "[REDACTED:api_key]"),
    ("AIza" + "Sy0" * 11 + "ab", "[REDACTED:api_key]"),
    ("hf_" + "a1B2" * 9, "[REDACTED:api_key]"),
    ("https://hooks.slack.com/services/" + "T00000000/B00000000/XXXXXXXX",
     "https://hooks.slack.com/services/[REDACTED:webhook]"),
    ("A: Bearer " + "abcdef0123456789abcdef", "A: Bearer [REDACTED:bearer_token]"),
    ("postgres://me:" + "hunter2@db:5432/x", "postgres://me:[REDACTED:password_in_url]@db:5432/x"),
    ("A: Bearer\t" + "abcdef0123456789abcdef", "A: Bearer\t[REDACTED:bearer_token]"),
    ("postgres://u:" + "p@s@s@db/x", "postgres://u:[REDACTED:password_in_url]@db/x"),
    ("redis://:" + "hunter2@cache", "redis://:[REDACTED:password_in_url]@cache"),
    ("Write to jo.doe+x@mail.example.co.uk.", "Write to [REDACTED:email]."),
    ("DE89 3704 0044 0532 0130 00 is it", "[REDACTED:iban] is it"),
    ("GB82WEST12345698765432", "[REDACTED:iban]"),
    ("BE68 5390 0754 7034 BIC KREDBEBB", "[REDACTED:iban] BIC KREDBEBB"),
    ("BE68 5390 0754 7034 KREDBEBB", "[REDACTED:iban] KREDBEBB"),
    ("IBAN ES9121000418450200051332 BIC", "IBAN [REDACTED:iban] BIC"),
    ("ES91 2100 0418 4502 0005 1332 EUR", "[REDACTED:iban] EUR"),
    ("AT61 1904 3002 3457 3201 BIC", "[REDACTED:iban] BIC"),
    ("AB12 CDEF AT61 1904 3002 3457 3201", "AB12 CDEF [REDACTED:iban]"),
    ("print('\\nAT61 1904 3002 3457 3201')", "print('\\n[REDACTED:iban]')"),
    ("4111 1111 1111 1111, 12/29", f"{CARD}, 12/29"),
    ("Card 4111 1111 1111 1111 12/27 cvc 123", f"Card {CARD} 12/27 cvc 123"),
    ("4111-1111-1111-1111 123", f"{CARD} 123"),
    ("4111111111111111 123", f"{CARD} 123"),
    ("4222222222222 4111 1111 1111 1111 12", f"{CARD} {CARD} 12"),
    ("2235 4111 1111 1111 1111", f"2235 {CARD}"),
    (
        "f('\\n4111111111111111', '\\n+49 30 123456')",
        f"f('\\n{CARD}', '\\n[REDACTED:phone_number]')",
    ),
    ("378282246310005", CARD),
    ("call +49 (30) 123456-78", "call [REDACTED:phone_number]"),
    ("(212) 555-0123 or 212-555-0123", "[REDACTED:phone_number] or [REDACTED:phone_number]"),
]  # fmt: skip

# Code and prose that look like it and are not.
LEFT = [
    "shutil.rmtree('/var/cache/apt/archives')",
    "task-sk-cleanup-of-temporary-directories",
    "the bearer of this letter is trustworthy",
    "class Basic authentication_of_everything: ...",
    "http://127.0.0.1:8080/a@b",
    "see https://example.org/a:b@c",
    "@app.route('/x')\ndef f(): return a @ b",
    "weights @ inputs.T",
    "1732480000123456789",
    "4111 1111 1111 1112",
    "4111 1111 1111 12 41",
    "AT61 1904 3002 3457 3202 BIC",
    "BE68 5390 0754 703",
    "GB82 WEST 1234 5698 7654 33",
    "3.141592653589793238",
    "2026-11-24T21:30:00+00:00",
    "0x7fffffffffffffff, 1e+10, 10 + 20 + 30",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_what_looks_like_it_is_taken_out(text: str, expected: str) -> None:
    assert redact(text, PATTERNS, Counter()) == expected


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact(text, PATTERNS, Counter()) == text


def test_personal_data_stays_where_only_secrets_are_to_go() -> None:
    text = f"me@example.org {JWT}"

    assert redact(text, SECRETS, Counter()) == "me@example.org [REDACTED:jwt]"


PIECES = st.one_of(st.sampled_from([text for text, _ in FOUND]), st.text(max_size=20))


@MODEST
@given(st.lists(PIECES, max_size=6).map(" ".join))
def test_to_redact_again_changes_nothing(text: str) -> None:
    once = redact(text, PATTERNS, Counter())

    assert redact(once, PATTERNS, Counter()) == once


# --- How long it takes ---------------------------------------------------------------------------

REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)

# What a repetition may try again from each place: more is possessive.
LONGEST_RETRY = 256


@pytest.mark.parametrize("pattern", PATTERNS, ids=[pattern.kind for pattern in PATTERNS])
def test_a_pattern_is_linear_in_the_text(pattern: Pattern) -> None:
    """By its form: the work at one place has a bound, and what is long is tried once."""
    assert _retries(_parser.parse(pattern.expression)) <= LONGEST_RETRY


def _retries(parsed: Any) -> int:
    """How many characters are tried again at most, summed over what follows each other and
    multiplied where a repetition stands in another.
    """
    most = 0
    for kind, content in parsed:
        if kind in REPEATS:
            _, highest, inner = content
            assert highest is not _constants.MAXREPEAT
            inside = _retries(inner)
            assert kind is _constants.POSSESSIVE_REPEAT or highest * max(1, inside) <= LONGEST_RETRY
            is_tried_again = kind is not _constants.POSSESSIVE_REPEAT and highest > 1
            most += highest * max(1, inside) if is_tried_again else inside
        elif kind is _constants.SUBPATTERN:
            most += _retries(content[-1])
        elif kind is _constants.BRANCH:
            most += max(_retries(branch) for branch in content[1])
    return most


EVIL = [
    "eyJ", "-eyJ", "eyJa.eyJa.", "a@", "a.a@", "a@a.", "://a:", "http://", "+1", "+1 1", "4111 ",
    "-----BEGIN PRIVATE KEY", "4", "DE89 ", "A", "sk-", "xoxb-", "Bearer a", "basic ", "SG.a.",
    "AKIA", "2234 ", "GB12 ", "://a:b@", "-----BEGIN PRIVATE KEY-----\nA: ",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", EVIL)
def test_no_text_holds_it_up(piece: str) -> None:
    """Were one of them quadratic, this would take hours."""
    redact(piece * (1_000_000 // len(piece)), PATTERNS, Counter())


# --- A program of the operator's -----------------------------------------------------------------

UPPER = """
import json, sys
for line in sys.stdin:
    print(json.dumps([text.upper() for text in json.loads(line)]), flush=True)
"""


def _program(folder: Path, text: str) -> RedactionProgram:
    script = folder / "redact.py"
    script.write_text(text)
    return RedactionProgram([sys.executable, str(script)])


def test_a_program_answers_after_the_patterns_and_is_asked_again(tmp_path: Path) -> None:
    redactor = Redactor(SECRETS, _program(tmp_path, UPPER))

    assert redactor([f"x {JWT}", "\ud7ff ü", ""]) == ["X [REDACTED:JWT]", "\ud7ff Ü", ""]
    assert redactor(["y" * 3_000_000]) == ["Y" * 3_000_000]
    assert redactor.counts == {"jwt": 1, PROGRAM: 3}


# After an answer to the empty list with which each start ends.
BEGUN = "print(input(), flush=True)\ninput()\n"

FAILING = {
    "it ended": BEGUN,
    "no JSON list of texts": f"{BEGUN}print('nonsense', flush=True); input()",
    "answered 2 texts with 1": f"{BEGUN}print('[\"x\"]', flush=True); input()",
    "no JSON list of text": f"{BEGUN}print('[1, 2]', flush=True); input()",
    "no answer within": f"{BEGUN}import time; time.sleep(1000)",
    "no answer": f"{BEGUN}import time\nwhile 1: print('x', end='', flush=True); time.sleep(0.01)",
}


@pytest.mark.parametrize("why", FAILING)
def test_a_program_that_fails_redacts_nothing(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why.startswith("no answer"):
        monkeypatch.setattr(redaction_program, "ANSWER_SECONDS", 0.05)
    program = _program(tmp_path, FAILING[why])

    with pytest.raises(NotRedacted, match=why):
        program.ask(["one", "two"])
    program.close()


# Begins when its file `go` is there.
WAITING = f"import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n{UPPER}"


def test_a_program_may_take_its_time_to_start_and_all_hear_that_we_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction_program, "BEAT_SECONDS", 0.01)
    go, beats = tmp_path / "go", list[None]()
    program = _program(tmp_path, WAITING.replace("'go'", repr(str(go))))

    def beat() -> None:
        beats.append(None)
        if len(beats) > 5:
            go.touch()

    assert program.ask(["a"], beat) == ["A"]
    assert len(beats) > 5
    program.close()


def test_a_worker_waits_for_the_start_before_its_work_and_no_run_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.touch()
    program = _program(tmp_path, WAITING.replace("'go'", repr(str(go))))
    monkeypatch.setattr(redaction_program, "ANSWER_SECONDS", 0.05)
    program.warm_up()
    go.unlink()
    program.close()  # as after a failure

    for _ in range(redaction_program.FAILURES + 1):
        with pytest.raises(NotRedacted, match="is being started"):
            program.ask(["a"])
    monkeypatch.setattr(redaction_program, "ANSWER_SECONDS", 30.0)
    go.touch()
    program._start_seconds = 30.0
    assert program.ask(["a"]) == ["A"]  # the same process: it was not started anew
    program.close()


def test_a_start_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction_program, "START_SECONDS", 0.05)
    program = _program(tmp_path, "import time; time.sleep(1000)")

    with pytest.raises(InvalidSettings, match="PAIRSTREAM_REDACT_COMMAND: it gave no answer"):
        program.warm_up()
    with pytest.raises(NotRedacted, match="no answer within"):
        program.ask(["a"])
    program.close()


def test_a_program_that_cannot_be_started_is_a_wrong_setting(tmp_path: Path) -> None:
    script = tmp_path / "redact"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    with pytest.raises(InvalidSettings, match="PAIRSTREAM_REDACT_COMMAND"):
        RedactionProgram([str(script)]).warm_up()


def test_a_program_that_failed_is_started_again_and_at_last_left_alone_by_a_worker(
    tmp_path: Path,
) -> None:
    fails_at_first = f"import os\nif not os.path.exists('there'):\n    raise SystemExit\n{UPPER}"
    program = _program(tmp_path, fails_at_first.replace("there", str(tmp_path / "there")))

    with pytest.raises(NotRedacted):
        program.ask(["a"])
    (tmp_path / "there").touch()
    assert program.ask(["a"]) == ["A"]
    program.close()

    (tmp_path / "there").unlink()
    for _ in range(redaction_program.FAILURES + 1):
        with pytest.raises(NotRedacted, match="it ended"):
            program.ask(["a"])
    (tmp_path / "there").touch()
    program.warm_up()
    (tmp_path / "there").unlink()
    program.close()
    for _ in range(redaction_program.FAILURES):
        with pytest.raises(NotRedacted, match="it ended"):
            program.ask(["a"])
    (tmp_path / "there").touch()
    with pytest.raises(NotRedacted, match="left alone"):
        program.ask(["a"])


def test_a_program_knows_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD", "correct-horse")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-token=correct-horse")
    program = _program(
        tmp_path,
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps([str(dict(os.environ)) for _ in json.loads(line)]), flush=True)",
    )

    assert "correct-horse" not in program.ask(["x"])[0]
    program.close()


@pytest.mark.parametrize("command", ["no-such-program", '"unfinished'])
def test_a_program_that_is_none_is_a_wrong_setting(command: str) -> None:
    with pytest.raises(InvalidSettings, match="PAIRSTREAM_REDACT_COMMAND"):
        open_redactor(PairingSettings(redact_command=command))


# --- Rows ----------------------------------------------------------------------------------------


def _rows(settings: PairingSettings, second: str, third: str) -> dict[str, list[dict[str, Any]]]:
    events = [
        started(),
        proposed(strategy="Ask me@example.org."),
        attempted(1, second, CRASHED),
        attempted(2, third, ok(2.5)),
        finished(),
    ]
    records = [
        (event["run_id"].encode(), orjson.dumps(event), offset)
        for offset, event in enumerate(events)
    ]
    effects = Partition.by(settings).apply(records, now_ms=0)
    rows: dict[str, list[dict[str, Any]]] = {}
    for topic, _, value in effects.rows:
        rows.setdefault(topic.name, []).append(orjson.loads(value))
    return rows


def _settings(value: str) -> PairingSettings:
    return convert({"redact": value}, PairingSettings)


def test_rows_are_made_of_redacted_texts_and_have_the_same_ids() -> None:
    texts = f"fail('{JWT}')", f"free('{JWT}')"
    [plain] = _rows(_settings("off"), *texts)[PAIRS.name]
    [pair] = _rows(_settings("secrets,personal"), *texts)[PAIRS.name]

    assert JWT in plain["chosen"][0]["content"]
    assert pair["prompt"][0]["content"] == "Ask [REDACTED:email]."
    assert pair["chosen"][0]["content"] == "free('[REDACTED:jwt]')"
    assert pair["rejected"][0]["content"] == "fail('[REDACTED:jwt]')"
    assert pair["pair_id"] == plain["pair_id"]


def test_codes_that_differ_in_a_secret_alone_are_no_pair() -> None:
    rows = _rows(_settings("secrets"), f"f('{JWT}')", f"f('{JWT}x')")

    assert PAIRS.name not in rows
    [outcome] = rows[RUN_OUTCOMES.name]
    assert outcome["reason"] == "no_shared_prompt"


def test_a_run_whose_redaction_fails_is_discarded_and_gives_nothing_else() -> None:
    def fails(_: list[str]) -> list[str]:
        raise NotRedacted("broken")

    partition = Partition(extended=False, redact=fails)
    events = [started(), proposed(), attempted(1, "free()", ok(1.0)), finished()]
    effects = partition.apply(
        [(e["run_id"].encode(), orjson.dumps(e), n) for n, e in enumerate(events)], now_ms=0
    )

    [(topic, _, value)] = effects.rows
    assert topic is RUN_OUTCOMES
    outcome = orjson.loads(value)
    assert (outcome["outcome"], outcome["reason"]) == ("discarded", "not_redacted")
    assert (outcome["attempts"], outcome["pairs"], outcome["scored_rows"]) == (1, 0, 0)
    assert encode(effects.settlements[0].outcome) == value


@pytest.mark.parametrize("value", ["", "all", "personal", "secrets, personal"])
def test_other_values_of_the_setting_are_refused(value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="redact"):
        convert({"redact": value}, WorkerSettings)


def test_off_costs_nothing_and_one_process_has_one_redactor() -> None:
    assert open_redactor(PairingSettings()) is None
    assert open_redactor(_settings("secrets")) is open_redactor(_settings("secrets"))
