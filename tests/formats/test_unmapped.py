"""What is not mapped, and what is said of it: the file, the place and the reason."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.formats import FORMATS
from pairstream.formats.record import Source
from tests.formats.reading import RECORDED, Json, events, of_text, source

OPENAI_AGENTS = orjson.loads(source("openinference/openai_agents.jsonl").content)
CHAT = orjson.loads(source("chat/chats.jsonl").content.splitlines()[0])


def spans_of(export: Json) -> list[Json]:
    return [
        span
        for resource in export["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def with_attribute(spans: list[Json], name: str, key: str, value: Json) -> None:
    for span in spans:
        if span["name"] == name:
            kept = [each for each in span["attributes"] if each["key"] != key]
            span["attributes"] = [*kept, {"key": key, "value": value}]


def test_trace_of_another_convention_is_told_its_format() -> None:
    _, unmapped, _ = events("otlp", source("openinference/openai_agents.jsonl"))

    [line] = unmapped
    assert line.startswith("openinference/openai_agents.jsonl:1 span ")
    assert line.endswith("its trace follows OpenInference: use --format openinference")


def test_trace_of_no_agent_is_told_so() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    for span in spans_of(export):
        span["attributes"] = []

    _, unmapped, _ = events("otlp", of_text(export))

    assert "does not follow OpenTelemetry GenAI" in unmapped[0]


def test_two_scores_on_an_attempt_must_be_chosen_from() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    for key, value in (
        ("evaluations.1.evaluation.name", {"stringValue": "speed"}),
        ("evaluations.1.evaluation.score", {"intValue": "3"}),
    ):
        with_attribute(spans_of(export)[-1:] + spans_of(export), "execute_python", key, value)

    _, unmapped, _ = events("openinference", of_text(export))

    assert "several scores (space_freed, speed): choose with --score NAME" in unmapped[0]


def test_attributes_of_ours_win() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    export["resourceSpans"][0]["resource"]["attributes"] += [
        {"key": "pairstream.run.id", "value": {"stringValue": "r-7"}},
        {"key": "pairstream.task.id", "value": {"stringValue": "t-7"}},
        {"key": "pairstream.policy.id", "value": {"stringValue": "p-7"}},
        {"key": "pairstream.agent.id", "value": {"stringValue": "a-7"}},
    ]

    mapped, _, _ = events("openinference", of_text(export))

    start = mapped[0]
    named = (start["run_id"], start["task_id"], start["policy_id"], start["agent_id"])
    assert named == ("r-7", "t-7", "p-7", "a-7")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("evaluations." + "a." * 600 + "b", "evaluations.... has more than 32 parts"),
        (f"evaluations.{'1' * 5000}.evaluation.score", "counts in more than 9 digits"),
        ("llm.input_messages." + "0." * 33 + "message", "llm.input_messages.... has more than 32"),
    ],
    ids=["deep", "many digits", "deep messages"],
)
def test_trace_whose_attributes_no_stack_or_number_holds_is_named(key: str, why: str) -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    for span in spans_of(export):
        with_attribute([span], span["name"], key, {"intValue": "3"})

    mapped, [line], _ = events("openinference", of_text(export))

    assert mapped == []
    assert why in line


def test_list_of_an_attribute_that_counts_beyond_all_is_named() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    items = [{"key": "9" * 5000, "value": {"intValue": "3"}}]
    with_attribute(
        spans_of(export), "execute_python", "evaluations.x", {"kvlistValue": {"values": items}}
    )

    mapped, [line], _ = events("openinference", of_text(export))

    assert (mapped, "counts in more than 9 digits" in line) == ([], True)


@pytest.mark.parametrize("depth", [100, 400, 600, 2000, 20_000])
def test_values_nested_too_deep_are_named(depth: int) -> None:
    """How deep is too deep is Python's to say, and differs: named or mapped, but no crash."""
    inner = b'{"intValue":"3"}'
    value = b'{"kvlistValue":{"values":[{"key":"a","value":' * depth + inner + b"}]}}" * depth
    export = copy.deepcopy(OPENAI_AGENTS)
    with_attribute(spans_of(export), "execute_python", "x", {"stringValue": "VALUE"})
    text = orjson.dumps(export).replace(b'{"stringValue":"VALUE"}', value)

    mapped, unmapped, _ = events("openinference", of_text(text))

    assert (len(mapped), len(unmapped)) in ((5, 0), (0, 1))


def test_trace_whose_root_is_not_there_is_not_over() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    for scope in export["resourceSpans"][0]["scopeSpans"]:
        scope["spans"] = [span for span in scope["spans"] if span.get("parentSpanId")]

    mapped, unmapped, _ = events("openinference", of_text(export))

    assert unmapped == []
    assert "run.finished" not in {event["type"] for event in mapped}


def test_trace_in_several_exports_and_files_is_one_run() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    [scope] = export["resourceSpans"][0]["scopeSpans"]
    spans = scope["spans"]
    parts = []
    for part in (spans[4:], spans[:4]):
        scope["spans"] = part
        parts.append(of_text(orjson.dumps(export), name=f"part-{len(parts)}"))

    assert events("openinference", *parts)[0] == events("openinference", of_text(OPENAI_AGENTS))[0]


def chatting(*, failed: bool) -> Json:
    """An agent's span with a score and three messages with code in it; no tool is told."""

    def attributes(**values: object) -> list[Json]:
        return [
            {"key": f"gen_ai.{name.replace('__', '.')}", "value": {"stringValue": value}}
            for name, value in values.items()
        ]

    def span(number: int, attributes: list[Json], **fields: object) -> Json:
        ids = {"traceId": "ab" * 16, "spanId": f"{number:016x}"}
        times = {"startTimeUnixNano": str(number), "endTimeUnixNano": str(number)}
        return {**ids, **times, "attributes": attributes, **fields}

    def told(role: str, text: str) -> str:
        return orjson.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}]).decode()

    score = {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.5}}
    judged = [{"name": "gen_ai.evaluation.result", "attributes": [score]}]
    agent = attributes(operation__name="invoke_agent")
    spans = [span(9, agent, events=judged, status={"code": 2 if failed else 0})]
    for number in (1, 2, 3):
        said = attributes(
            operation__name="chat",
            input__messages=told("user", "Tidy up."),
            output__messages=told("assistant", f"Plan {number}.\n```python\ncode({number})\n```"),
        )
        spans.append(span(number, said, parentSpanId=spans[0]["spanId"]))
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("has_parent", [False, True])
def test_what_an_agents_span_tells_is_of_all_the_code_in_its_messages(
    *, failed: bool, has_parent: bool
) -> None:
    export = chatting(failed=failed)
    if has_parent:
        spans_of(export)[0]["parentSpanId"] = "00000000000000ff"

    mapped, unmapped, _ = events("otlp", of_text(export))

    assert unmapped == []
    told = [(e.get("strategy"), e.get("code"), e.get("score")) for e in mapped[1:3]]
    assert told == [("Plan 1.", None, None), (None, "code(1)\ncode(2)\ncode(3)", 0.5)]
    assert len([event for event in mapped if "code" in event]) == 1


def test_root_that_is_no_agents_span_is_the_whole_run_too() -> None:
    export = chatting(failed=False)
    spans_of(export)[0]["attributes"] = []

    mapped, _, _ = events("otlp", of_text(export))

    assert [event["score"] for event in mapped if "code" in event] == [0.5]


def test_score_in_a_log_record_is_of_its_span() -> None:
    export = copy.deepcopy(OPENAI_AGENTS)
    tool = next(span for span in spans_of(export) if "evaluations.0" in str(span))
    tool["attributes"] = [a for a in tool["attributes"] if not a["key"].startswith("evaluations")]
    record = {
        "traceId": tool["traceId"],
        "spanId": tool["spanId"],
        "eventName": "gen_ai.evaluation.result",
        "attributes": [
            {"key": "gen_ai.evaluation.name", "value": {"stringValue": "space_freed"}},
            {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 7.5}},
        ],
    }
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}

    mapped, _, _ = events("openinference", of_text(export), of_text(logs, "logs"))

    assert [event["score"] for event in mapped if "score" in event] == [0.0, 7.5]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"messages": None, "request": {}}, "Expected `array`, got `null`"),
        ({"score": -1}, "its score is negative or not finite: a score is 0 or more"),
        ({"created_at": "yesterday"}, "Invalid RFC3339 encoded datetime"),
        ({"score": None}, "its code ran, and no score says what it was worth"),
    ],
)
def test_chat_that_cannot_be_mapped_is_named_by_its_line(change: Json, why: str) -> None:
    mapped, [line], _ = events("chat", of_text({**CHAT, **change}))

    assert mapped == []
    assert line == f"file:1: {why}"


@pytest.mark.parametrize("scored", ["run", "attempt"])
def test_score_that_no_float_holds_is_named_and_the_rest_is_mapped(scored: str) -> None:
    line = copy.deepcopy(CHAT)
    (line if scored == "run" else line["request"]["messages"][-1])["score"] = "SCORE"
    bad = orjson.dumps(line).replace(b'"SCORE"', b"1" * 400)

    mapped, unmapped, _ = events("chat", of_text(bad + b"\n" + orjson.dumps(CHAT)))

    assert len(mapped) == 5
    assert unmapped == ["file:1: a score is larger than any number here"]


def calling(*codes: str) -> Json:
    """Calls by one id, as some servers count in each message anew, or not at all."""
    calls = [
        {"id": "call_0", "function": {"name": "python", "arguments": {"code": code}}}
        for code in codes
    ]
    return {"role": "assistant", "content": f"I try {codes[0]}.", "tool_calls": calls}


def answer(content: str, score: float | None = None) -> Json:
    return {"role": "tool", "tool_call_id": "call_0", "content": content, "score": score}


FAILED = "Traceback (most recent call last)\nNameError: x"


@pytest.mark.parametrize(
    ("said", "scores"),
    [
        ([calling("a"), answer(FAILED), calling("b"), answer("ok", 7)], {"a": 0.0, "b": 7.0}),
        ([calling("a", "b"), answer(FAILED), answer("ok", 7)], {"a": 0.0, "b": 7.0}),
        # What else was said before the answer does not take it away, and no answer is none.
        (
            [calling("a"), {"role": "assistant", "content": "Wait."}, answer(FAILED)],
            {"a": 0.0},
        ),
        ([calling("a"), calling("b"), answer("ok", 7)], {"b": 7.0}),
    ],
)
def test_answer_is_that_of_the_last_call_by_its_id(
    said: list[Json], scores: dict[str, float]
) -> None:
    line = {"messages": [{"role": "user", "content": "Tidy up."}, *said]}

    mapped, _, _ = events("chat", of_text(line))

    assert {event["code"]: event["score"] for event in mapped if "code" in event} == scores


def logged(*said: Json, **fields: object) -> bytes:
    asked = {"role": "user", "content": "Tidy up."}
    return orjson.dumps({"conversation_id": "c-1", "messages": [asked, *said], **fields}) + b"\n"


GROWN = [calling("a"), answer(FAILED), calling("b"), answer("ok")]


@pytest.mark.parametrize(
    "lines",
    [
        [logged(*GROWN[:2], score=0), logged(*GROWN, score=7)],
        [logged(*GROWN, score=7), logged(*GROWN[:1], score=0), logged(*GROWN, score=7)],
    ],
)
def test_log_that_tells_a_dialogue_again_as_it_grows_is_one_run(lines: list[bytes]) -> None:
    mapped, unmapped, _ = events("chat", of_text(b"".join(lines)))

    assert unmapped == []
    assert [(event["code"], event["score"]) for event in mapped if "code" in event] == [
        ("a", 0.0),
        ("b", 7.0),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [logged(calling("a"), score=1), logged(*GROWN[2:], score=7)],
        [logged(*GROWN, score=1), logged(*GROWN, score=7)],
    ],
)
def test_lines_of_one_run_that_differ_are_named(lines: list[bytes]) -> None:
    why = "another line has its run_id and tells something else; give each run a run_id"

    assert events("chat", of_text(b"".join(lines))) == ([], [f"file:1: {why}", f"file:2: {why}"], 0)


def test_prompt_with_a_picture_is_not_told_without_it() -> None:
    line = copy.deepcopy(CHAT)
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    line["request"]["messages"][1]["content"] = [{"type": "text", "text": "See."}, picture]

    _, [said], _ = events("chat", of_text(line))

    assert said == "file:1: a message holds a part of type image_url, which is no text"


TRAJECTORY = {
    "schema_version": "ATIF-v1.7",
    "session_id": "s-1",
    "agent": {"name": "a", "version": "1"},
    "steps": [
        {"source": "user", "message": "Tidy up."},
        {
            "source": "agent",
            "message": "I list it first.",
            "tool_calls": [
                {"tool_call_id": "1", "function_name": "bash", "arguments": {"command": "ls"}}
            ],
            "observation": {"results": [{"source_call_id": "1", "content": "a b"}]},
        },
        {
            "source": "agent",
            "message": "Then I remove it.",
            "tool_calls": [
                {"tool_call_id": "2", "function_name": "bash", "arguments": {"command": "rm a"}}
            ],
        },
    ],
}
RESULT = {"id": "trial-1", "trial_name": "t", "task_name": "tidy"}


def trial(**result: Any) -> tuple[list[Json], list[str], int]:
    files = (
        of_text(TRAJECTORY, "trial/agent/trajectory.json"),
        of_text({**RESULT, **result}, "trial/result.json"),
    )
    return events("atif", *files)


def test_trial_without_a_reward_gives_nothing() -> None:
    assert trial()[:2] == (
        [],
        ["trial/agent/trajectory.json: its code ran, and no score says what it was worth"],
    )


def test_reward_is_of_all_that_the_agent_ran_under_its_first_plan() -> None:
    mapped, _, _ = trial(verifier_result={"rewards": {"reward": 0.5, "style": 1}})

    told = [(event.get("strategy"), event.get("code"), event.get("score")) for event in mapped]
    assert told[1:3] == [("I list it first.", None, None), (None, "ls\nrm a", 0.5)]
    assert mapped[0]["run_id"] == "trial-1"


def test_rewards_of_other_names_must_be_chosen_from() -> None:
    _, [line], _ = trial(verifier_result={"rewards": {"speed": 0.5, "style": 1}})

    assert line.endswith("several scores (speed, style): choose with --score NAME")


@pytest.mark.parametrize(
    ("exception", "fault"),
    [
        ("harbor.trial.trial.EnvironmentStartTimeoutError", "infrastructure"),
        ("CancelledError", "cancelled"),
    ],
)
def test_trial_that_broke_without_the_agent_is_void(exception: str, fault: str) -> None:
    mapped, _, _ = trial(exception_info={"exception_type": exception})

    assert [(e["fault"], e["score"]) for e in mapped if "code" in e] == [(fault, 0.0)]


def test_agent_that_ran_out_of_time_is_judged_like_any_other() -> None:
    mapped, _, _ = trial(
        exception_info={"exception_type": "AgentTimeoutError"},
        verifier_result={"rewards": {"reward": 0.0}},
    )

    assert [(e.get("fault"), e["score"]) for e in mapped if "code" in e] == [(None, 0.0)]


def test_trajectory_that_a_context_window_cut_is_one_run() -> None:
    again = {**TRAJECTORY["steps"][0], "is_copied_context": True}  # type: ignore[index]
    parts = [
        {**TRAJECTORY, "steps": TRAJECTORY["steps"][:2]},  # type: ignore[index]
        {**TRAJECTORY, "steps": [again, TRAJECTORY["steps"][2]]},  # type: ignore[index]
    ]
    result = {**RESULT, "verifier_result": {"rewards": {"reward": 1}}}

    mapped, unmapped, _ = events(
        "atif",
        of_text(parts[1], "t/agent/trajectory.cont-1.json"),
        of_text(parts[0], "t/agent/trajectory.json"),
        of_text(result, "t/result.json"),
    )

    assert unmapped == []
    assert [event["code"] for event in mapped if "code" in event] == ["ls\nrm a"]


def test_other_sessions_of_a_trial_are_runs_of_their_own() -> None:
    result = {**RESULT, "verifier_result": {"rewards": {"reward": 1}}}

    mapped, unmapped, _ = events(
        "atif",
        of_text({**TRAJECTORY, "session_id": "a"}, "t/agent/trajectory.sub-1.json"),
        of_text({**TRAJECTORY, "session_id": "s"}, "t/agent/trajectory.json"),
        of_text(result, "t/result.json"),
    )

    assert unmapped == []
    runs = [(event["run_id"], event["code"]) for event in mapped if "code" in event]
    assert runs == [("trial-1", "ls\nrm a"), ("trial-1-a", "ls\nrm a")]


def test_summary_of_a_job_is_passed_over_and_other_files_are_named() -> None:
    job = {"id": "x", "n_total_trials": 3, "stats": {}}

    assert events("atif", of_text(job, "result.json"), of_text({}, "other.json")) == (
        [],
        [
            "other.json: neither an ATIF trajectory (schema_version ATIF-...) nor Harbor's result "
            "of a trial (trial_name, verifier_result)"
        ],
        0,
    )


def test_swe_agent_that_handed_nothing_in_is_named() -> None:
    document = orjson.loads(source("swe-agent/SWE-agent__test-repo-i1.traj").content)
    document["info"] = {"exit_status": "exit_cost", "submission": None}

    _, [line], _ = events("swe-agent", of_text(document, "a.traj"))

    assert line == "a.traj: nothing was handed in (exit status: exit_cost)"


def test_patch_that_did_not_apply_did_not_compile() -> None:
    name = "SWE-agent__test-repo-i1"
    report = {name: {"patch_successfully_applied": False, "resolved": False}}

    mapped, _, _ = events(
        "swe-agent", source(f"swe-agent/{name}.traj"), of_text(report, "report.json")
    )

    [attempt] = [event for event in mapped if "code" in event]
    assert (attempt["compiled"], attempt["ran"], attempt["score"]) == (False, False, 0.0)


def test_agent_that_tried_several_times_is_judged_by_the_patch_that_it_chose() -> None:
    name = "SWE-agent__test-repo-i1"
    document = orjson.loads(source(f"swe-agent/{name}.traj").content)
    chosen = document["info"]["submission"]
    attempts = [
        {"trajectory": [{"thought": "One."}], "info": {"submission": "another patch"}},
        {"trajectory": [{"thought": "Two."}], "info": {"submission": chosen}},
    ]

    mapped, _, left_out = events(
        "swe-agent",
        of_text({**document, "attempts": attempts}, f"{name}.traj"),
        source("swe-agent/run.report.json"),
    )

    assert left_out == 1
    assert [event["strategy"] for event in mapped if "strategy" in event] == ["Two."]


def handed_in(name: str, patch: str) -> Source:
    document = {
        "instance_id": "i-1",
        "info": {"submission": patch},
        "messages": [{"role": "user", "content": "Fix."}, {"role": "assistant", "content": name}],
    }
    return of_text(document, name)


RESOLVED = {"resolved_ids": ["i-1"], "unresolved_ids": []}
UNRESOLVED = {"resolved_ids": [], "unresolved_ids": ["i-1"]}
DIFFER = "two reports judge it differently; ingest each run by itself"
WHOSE = (
    "its report may be of another patch of its instance; ingest each run with its report by itself"
)


@pytest.mark.parametrize(
    ("patches", "reports", "scores", "why"),
    [
        # Each run has its report.
        (
            {"a/i.traj": "1", "b/i/i.traj": "2"},
            {"a/report.json": RESOLVED, "b/report.json": UNRESOLVED},
            {"1": 1.0, "2": 0.0},
            {},
        ),
        # The nearer one counts.
        (
            {"runs/a/i.traj": "1", "runs/b/i.traj": "2"},
            {"runs/report.json": UNRESOLVED, "runs/a/report.json": RESOLVED},
            {"1": 1.0, "2": 0.0},
            {},
        ),
        # One that lies elsewhere is of the only patch, however often that is there.
        (
            {"runs/a/i.traj": "1", "runs/b/i.traj": "1"},
            {"logs/report.json": RESOLVED},
            {"1": 1.0},
            {},
        ),
        # One run has none.
        (
            {"a/i.traj": "1", "b/i.traj": "2"},
            {"a/report.json": RESOLVED},
            {"1": 1.0},
            {"b/i.traj": WHOSE},
        ),
        # Nobody can say of which run it is.
        (
            {"runs/a/i.traj": "1", "runs/b/i.traj": "2"},
            {"runs/report.json": RESOLVED},
            {},
            {"runs/a/i.traj": WHOSE, "runs/b/i.traj": WHOSE},
        ),
        (
            {"a/i.traj": "1"},
            {"a/report.json": RESOLVED, "a/run.report.json": UNRESOLVED},
            {},
            {"a/i.traj": DIFFER},
        ),
    ],
)
def test_patch_is_judged_by_the_report_that_is_its(
    patches: dict[str, str],
    reports: dict[str, Json],
    scores: dict[str, float],
    why: dict[str, str],
) -> None:
    files = [handed_in(name, patch) for name, patch in patches.items()]
    files += [of_text(report, name) for name, report in reports.items()]

    for order in (files, files[::-1]):
        mapped, unmapped, _ = events("swe-agent", *order)

        assert {event["code"]: event["score"] for event in mapped if "code" in event} == scores
        assert sorted(unmapped) == [f"{name}: {said}" for name, said in sorted(why.items())]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)
FILES = sorted(path for path in RECORDED.rglob("*.json*") if path.name != "README.md")


@given(st.data())
def test_file_in_which_anything_is_changed_is_mapped_or_named_but_never_a_crash(
    data: st.DataObject,
) -> None:
    path = data.draw(st.sampled_from(FILES))
    document = orjson.loads(
        path.read_bytes().splitlines()[0] if path.suffix == ".jsonl" else path.read_bytes()
    )
    place: Any = document
    for _ in range(data.draw(st.integers(1, 9))):
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        name = data.draw(st.sampled_from(names))
        if not isinstance(place[name], dict | list) or not place[name]:
            break
        parent, key, place = place, name, place[name]
        if data.draw(st.integers(0, 4)) == 0:
            parent[key] = data.draw(json_values)
            break
    else:
        name = None
    if name is not None and isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        place[data.draw(st.sampled_from(keys))] = data.draw(json_values)

    for format_name in FORMATS:
        events(format_name, of_text(document, str(path.relative_to(RECORDED))))
