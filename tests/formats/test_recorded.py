"""What real libraries wrote, to the events that it must become."""

import pytest

from pairstream.formats.record import Choices, Tried
from tests.formats.reading import events, facts, read, source

PLAN = "Empty the package cache."
GOOD = "import shutil\nshutil.rmtree('cache')"
STARTED, FINISHED = ("run.started",), ("run.finished",)

# The tool's framework tells that the first program failed, not that it did not compile.
CLEANED = [
    STARTED,
    ("s-1", PLAN),
    ("s-1", 1, "remove('cache'", True, False, 0.0),
    ("s-1", 2, GOOD, True, True, 12.5),
    FINISHED,
]


@pytest.mark.parametrize(
    ("format_name", "file"),
    [
        ("openinference", "openinference/openai_agents.jsonl"),
        ("openinference", "openinference/openai_agents.pb"),
        ("otlp", "otlp/pydantic_ai.jsonl"),
        ("otlp", "otlp/pydantic_ai.pb"),
    ],
)
def test_tools_that_ran_code_are_attempts_and_evaluations_their_scores(
    format_name: str, file: str
) -> None:
    mapped, unmapped, left_out = events(format_name, source(file))

    assert (unmapped, left_out) == ([], 0)
    failed = mapped[2]
    assert facts([{**failed, "compiled": True}]) == CLEANED[2:3]
    # Only Pydantic AI tells what the compiler said.
    assert failed["compiled"] == ("SyntaxError" not in failed["error"])
    assert facts([*mapped[:2], *mapped[3:]]) == CLEANED[:2] + CLEANED[3:]
    prompts = mapped[0]["prompts"]
    assert prompts["system_plist"] == [{"role": "system", "content": "You free disk space."}]
    asked = "Free 10 bytes in the scratch folder."
    assert prompts["strat_code_req_plist"] == [{"role": "user", "content": asked}]
    assert (mapped[0]["agent_id"], mapped[0]["policy_id"]) == ("cleaner", "tiny")
    assert len({event["run_id"] for event in mapped}) == 1


@pytest.mark.parametrize("folder", ["openinference/openai_agents", "otlp/pydantic_ai"])
def test_json_and_protobuf_say_the_same(folder: str) -> None:
    format_name = folder.partition("/")[0]

    [from_json], _ = read(format_name, source(f"{folder}.jsonl"))
    [from_protobuf], _ = read(format_name, source(f"{folder}.pb"))

    as_lines = [
        step._replace(place="") if isinstance(step, Tried) else step for step in from_json.steps
    ]
    as_bytes = [
        step._replace(place="") if isinstance(step, Tried) else step for step in from_protobuf.steps
    ]
    assert as_lines == as_bytes
    assert (from_json.run_id, from_json.began) == (from_protobuf.run_id, from_protobuf.began)


def test_code_that_stands_in_messages_is_tried_by_the_step_around_it() -> None:
    mapped, unmapped, _ = events("openinference", source("openinference/smolagents.jsonl"))

    assert unmapped == []
    assert facts(mapped) == [
        STARTED,
        ("s-1", f"Thought: {PLAN}"),
        ("s-1", 1, "free('cache'", False, False, 0.0),
        ("s-1", 2, "final_answer(free('cache'))", True, True, 12.0),
        FINISHED,
    ]
    assert "SyntaxError" in mapped[2]["error"]


def test_chats_are_read_as_requests_with_responses_and_as_dialogues() -> None:
    mapped, unmapped, _ = events("chat", source("chat/chats.jsonl"))

    assert unmapped == []
    first, second = facts(mapped[:5]), facts(mapped[5:])
    assert first == [*CLEANED[:2], ("s-1", 1, "remove('cache'", False, False, 0.0), *CLEANED[3:]]
    assert second == [
        STARTED,
        ("s-1", "Empty the cache by one call."),
        ("s-1", 1, GOOD, True, True, 3.0),
        FINISHED,
    ]
    assert [mapped[0]["run_id"], mapped[5]["run_id"]] == ["log-1", "log-2"]
    assert mapped[0]["task_id"] == "free-10"


def test_patches_of_swe_agents_are_attempts_and_reports_their_scores() -> None:
    names = ("example__division-1.traj.json", "SWE-agent__test-repo-i1.traj")
    files = [source(f"swe-agent/{name}") for name in (*names, "report.json", "run.report.json")]

    mapped, unmapped, _ = events("swe-agent", *files)

    assert unmapped == []
    starts = [event for event in mapped if event["type"] == "run.started"]
    attempts = [event for event in mapped if event["type"] == "code.attempted"]
    assert [(start["agent_id"], start["policy_id"], start["task_id"]) for start in starts] == [
        ("mini-swe-agent", "deterministic_toolcall", "example__division-1"),
        ("SWE-agent", "gpt-4o", "SWE-agent__test-repo-i1"),
    ]
    assert [(attempt["ran"], attempt["score"]) for attempt in attempts] == [(True, 1.0)] * 2
    assert all("-> float:" in attempt["code"] for attempt in attempts)
    assert [event["strategy"].partition(",")[0] for event in mapped if "strategy" in event] == [
        "I will run the script to see the error",
        "To start addressing this issue",
    ]


def test_patch_that_no_report_judges_is_no_attempt() -> None:
    name = "swe-agent/SWE-agent__test-repo-i1.traj"

    assert events("swe-agent", source(name)) == (
        [],
        [f"{name}: its code ran, and no score says what it was worth"],
        1,
    )


def test_trial_of_harbor_is_judged_by_its_reward() -> None:
    folder = "atif/job/example__division-1__trial"
    files = [source(f"{folder}/{name}") for name in ("agent/trajectory.json", "result.json")]

    mapped, unmapped, _ = events("atif", *files)

    assert unmapped == []
    plan = "I will run the script to see the error, then add the missing colon."
    repaired = "sed -i '1s/$/:/' missing_colon.py && python3 missing_colon.py"
    handed_in = "git add -A && echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git diff --cached"
    assert facts(mapped) == [
        STARTED,
        ("s-1", plan),
        ("s-1", 1, "python3 missing_colon.py", False, False, 0.0),
        ("s-2", "The colon is missing at the end of line 1; I add it."),
        ("s-2", 3, f"{repaired}\n{handed_in}", True, True, 1.0),
        FINISHED,
    ]
    named = [mapped[0][name] for name in ("run_id", "task_id", "agent_id", "policy_id")]
    assert named == [
        "00000000-0000-0000-0000-000000000001",
        "example__division-1",
        "mini-swe-agent",
        "deterministic_toolcall",
    ]


def test_trial_whose_sandbox_broke_is_void() -> None:
    folder = "atif/job/example__division-1__broken"
    files = [source(f"{folder}/{name}") for name in ("agent/trajectory.json", "result.json")]

    mapped, _, _ = events("atif", *files)

    assert [(e["ran"], e.get("fault")) for e in mapped if "code" in e] == [
        (False, "infrastructure"),
        (True, "infrastructure"),
    ]


HARBOR = "atif/job/example__division-1__trial"


@pytest.mark.parametrize(
    ("format_name", "files"),
    [
        ("openinference", ["openinference/openai_agents.jsonl"]),
        ("otlp", ["otlp/pydantic_ai.pb"]),
        ("atif", [f"{HARBOR}/agent/trajectory.json", f"{HARBOR}/result.json"]),
        ("chat", ["chat/chats.jsonl"]),
    ],
)
def test_same_file_twice_gives_the_same_events(format_name: str, files: list[str]) -> None:
    sources = [source(file) for file in files]

    assert events(format_name, *sources) == events(format_name, *sources, *sources)


def test_chosen_score_that_is_not_there_leaves_the_attempt_out() -> None:
    choices = Choices(score_name="speed")

    mapped, unmapped, left_out = events(
        "openinference", source("openinference/openai_agents.jsonl"), choices=choices
    )

    assert (mapped, left_out) == ([], 1)
    assert unmapped[0].endswith("its code ran, and no score says what it was worth")
