"""The client is held to the contract: the golden examples, and the service's own decoder."""

import ast
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from client_support import PROMPTS, KeepingPublisher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pairstream_client
import schemas
from pairstream_client import RunRecorder, assign_score
from pairstream_client.events import FAULTS, MAX_ATTEMPT, PROMPT_PARTS
from schemas.errors import InvalidRecord
from schemas.events import CodeAttempted, parse_event

EXAMPLES = Path(schemas.__file__).parent / "examples" / "pairstream.run-events.v1"
# `run.expired` is written by the worker, not by agents.
AGENTS_EXAMPLES = sorted(path.name for path in EXAMPLES.iterdir() if "expired" not in path.name)


def _recorder(publisher: KeepingPublisher, **given_values: Any) -> RunRecorder:
    return RunRecorder(
        **({"prompts": PROMPTS, "run_id": "r-1"} | given_values), publisher=publisher
    )


def _start(publisher: KeepingPublisher, example: dict[str, Any]) -> None:
    names = ("prompts", "new_sp_egc_s", "agent_id", "task_id", "policy_id")
    _recorder(publisher, **{name: example[name] for name in names if name in example})


def _propose(publisher: KeepingPublisher, example: dict[str, Any]) -> None:
    _recorder(publisher).propose(example["strategy"])


def _attempt(publisher: KeepingPublisher, example: dict[str, Any]) -> None:
    names = ("compiled", "ran", "score", "error", "fault", "attempt")
    strategy = _recorder(publisher).propose("...", strategy_id=example["strategy_id"])
    strategy.attempt(example["code"], **{name: example[name] for name in names if name in example})


def _assign(publisher: KeepingPublisher, example: dict[str, Any]) -> None:
    names = ("run_id", "strategy_id", "attempt", "score", "by")
    assign_score(**{name: example[name] for name in names}, publisher=publisher)


def _finish(publisher: KeepingPublisher, _: dict[str, Any]) -> None:
    _recorder(publisher).finish()


RECORD: dict[str, Callable[[KeepingPublisher, dict[str, Any]], None]] = {
    "run.started": _start,
    "strategy.proposed": _propose,
    "code.attempted": _attempt,
    "score.assigned": _assign,
    "run.finished": _finish,
}


@pytest.mark.parametrize("name", AGENTS_EXAMPLES)
def test_recorder_makes_the_golden_example_of_the_same_inputs(
    name: str, keeping: KeepingPublisher
) -> None:
    example = json.loads((EXAMPLES / name).read_text())

    RECORD[example["type"]](keeping, example)

    made = json.loads(keeping.sent[-1].value)
    assert len(made["event_id"]) == 32
    assert made["time"].endswith("Z")
    assert datetime.fromisoformat(made["time"]).tzinfo == timezone.utc
    stamp = {name: made[name] for name in ("time", "event_id")}
    assert made == example | stamp


def test_every_kind_of_event_that_agents_send_has_a_golden_example() -> None:
    types = {json.loads((EXAMPLES / name).read_text())["type"] for name in AGENTS_EXAMPLES}
    assert types == set(RECORD)


# Anything that JSON can say, and some that it cannot; texts with lone surrogates among them.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
ANYTHING = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, MAX_ATTEMPT, MAX_ATTEMPT + 1, -0.0, "s" * 256, "s" * 257]),
    st.binary(max_size=3),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)


def _mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Good values most of the time, so that whole events are often good."""
    return st.integers(0, 9).flatmap(lambda n: ANYTHING if n == 0 else good)


MESSAGES = _mostly(
    st.lists(_mostly(st.fixed_dictionaries({"role": TEXTS, "content": _mostly(TEXTS)})), max_size=2)
)
ANY_PROMPTS = _mostly(
    st.fixed_dictionaries(
        dict.fromkeys(PROMPT_PARTS[:3], MESSAGES), optional={PROMPT_PARTS[3]: MESSAGES}
    )
)
OPTIONAL_TEXT = _mostly(st.none() | TEXTS)
ANY_GETTERS = _mostly(st.none() | st.lists(_mostly(TEXTS), max_size=2))

RUN_IDS = _mostly(TEXTS.filter(bool))
STARTS = st.fixed_dictionaries(
    {"prompts": ANY_PROMPTS, "new_sp_egc_s": ANY_GETTERS}
    | dict.fromkeys(("agent_id", "task_id", "policy_id"), OPTIONAL_TEXT)
)
PROPOSALS = st.fixed_dictionaries(
    {
        "strategy": _mostly(TEXTS),
        "strategy_id": _mostly(TEXTS),
        "prompts": st.none() | ANY_PROMPTS,
        "new_sp_egc_s": ANY_GETTERS,
    }
)
ATTEMPTS = st.fixed_dictionaries(
    {
        "code": _mostly(TEXTS),
        "compiled": _mostly(st.booleans()),
        "ran": _mostly(st.booleans()),
        "score": _mostly(st.floats(0, allow_infinity=False) | st.just(0)),
        "error": OPTIONAL_TEXT,
        "fault": _mostly(st.none() | st.sampled_from(FAULTS)),
        "attempt": _mostly(st.integers(1, MAX_ATTEMPT)),
    }
)


def _is_valid(**fields: object) -> bool:
    """Whether JSON can say these very values, and the service takes them."""
    stamped = {"time": "2026-11-23T10:00:00Z", **fields}
    try:
        value = json.dumps(stamped, ensure_ascii=False, allow_nan=False).encode()
        return parse_event(value) is not None
    except (InvalidRecord, TypeError, ValueError):
        return False


EXAMPLES_TRIED = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@EXAMPLES_TRIED
@given(run_id=RUN_IDS, start=STARTS, proposal=PROPOSALS, attempt=ATTEMPTS)
def test_an_event_is_sent_if_it_is_valid_and_else_dropped_and_counted(
    run_id: Any, start: Any, proposal: Any, attempt: Any
) -> None:
    publisher = KeepingPublisher()

    with RunRecorder(**start, run_id=run_id, publisher=publisher) as run:
        strategy = run.propose(**proposal)
        strategy.attempt(**attempt)

    strategy_id = proposal["strategy_id"]
    valid = [
        _is_valid(type="run.started", run_id=run_id, **start),
        _is_valid(type="strategy.proposed", run_id=run_id, **proposal),
        _is_valid(type="code.attempted", run_id=run_id, strategy_id=strategy_id, **attempt),
        _is_valid(type="run.finished", run_id=run_id),
    ]
    assert len(publisher.events) == sum(valid)
    assert publisher.stats.dropped == len(valid) - sum(valid)


@EXAMPLES_TRIED
@given(attempt=ATTEMPTS)
def test_what_is_sent_says_what_was_recorded(attempt: Any) -> None:
    publisher = KeepingPublisher()
    strategy = RunRecorder(PROMPTS, publisher=publisher).propose("...")

    strategy.attempt(**attempt)

    event = publisher.events[-1]
    if isinstance(event, CodeAttempted):
        assert {name: getattr(event, name) for name in attempt} == attempt


SOURCES = sorted(Path(pairstream_client.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_client_imports_nothing_of_the_service_and_reads_as_python_3_10(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))

    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"schemas", "streams", "trainer", "pairstream", "tests"}
