"""Files of other formats, ingested: what is good is sent, what cannot be mapped is named."""

import copy
import json
from pathlib import Path

import pytest

from pairstream.formats import FORMATS
from schemas.topics import MAX_EVENT_BYTES, RUN_EVENTS
from tests.commands.deployment import Deployment, parsed_pairs
from tests.conftest import Pairstream
from tests.formats.reading import RECORDED


def test_trace_becomes_a_run_and_its_pair_and_sending_it_twice_changes_nothing(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    file = RECORDED / "openinference" / "openai_agents.jsonl"

    for _ in range(2):
        done = pairstream("ingest", "--format", "openinference", file, env=deployment.env)
        assert "5 events sent and acknowledged of 1 run; 0 runs" in done.stdout

    assert len(deployment.records(deployment.names.topic(RUN_EVENTS))) == 10
    deployment.settle()
    [pair] = parsed_pairs(deployment)
    assert (pair.rule, pair.chosen_attempt, pair.rejected_attempt) == ("mixed_code", 2, 1)
    assert deployment.records(deployment.names.dead_letters(RUN_EVENTS)) == []


def test_folder_stands_for_its_files_and_what_cannot_be_mapped_is_named_with_its_place(
    pairstream: Pairstream, tmp_path: Path
) -> None:
    good = (RECORDED / "chat" / "chats.jsonl").read_bytes().splitlines()[0]
    folder = tmp_path / "logs" / "monday"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(good + b"\nnot json\n" + b'{"messages": 3}\n')
    (folder / "notes.txt").write_text("not asked for")

    done = pairstream("ingest", "--format", "chat", "--print", tmp_path / "logs", check=False)

    assert done.returncode == 1
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 5
    first, second, last = done.stderr.splitlines()
    assert first.startswith(f"{folder}/a.jsonl:2: not JSON")
    assert second == f"{folder}/a.jsonl:3: Expected `array`, got `int`"
    assert last == ("pairstream: 2 runs or attempts that cannot be mapped left out; see above")


def test_run_with_an_event_too_large_to_send_is_left_out_whole(
    deployment: Deployment, pairstream: Pairstream, tmp_path: Path
) -> None:
    """Its last attempt alone: without it, the run would never have succeeded."""
    good = json.loads((RECORDED / "chat" / "chats.jsonl").read_bytes().splitlines()[0])
    large = copy.deepcopy({**good, "id": "large"})
    call = large["request"]["messages"][-2]["tool_calls"][0]["function"]
    call["arguments"] = json.dumps({"code": "#" * MAX_EVENT_BYTES})
    file = tmp_path / "chats.jsonl"
    file.write_text(f"{json.dumps(large)}\n{json.dumps(good)}\n")

    done = pairstream("ingest", "--format", "chat", file, env=deployment.env, check=False)

    assert done.returncode == 1
    said, _ = done.stderr.splitlines()
    assert said.startswith(f"{file}:1 message 5: its run is left out whole: a code.attempted has")
    assert "5 events sent and acknowledged of 1 run; 1 runs or attempts that" in done.stdout
    sent = deployment.records(deployment.names.topic(RUN_EVENTS))
    assert {message.key() for message in sent} == {good["id"].encode()}


def test_tool_that_nobody_knows_is_named_by_the_user(
    pairstream: Pairstream, tmp_path: Path
) -> None:
    file = tmp_path / "chat.jsonl"
    text = (RECORDED / "chat" / "chats.jsonl").read_text().splitlines()[0]
    file.write_text(text.replace("execute_python", "try_out"))
    command = ("ingest", "--format", "chat", "--print", file)

    refused = pairstream(*command, check=False)
    assert "name others with --code-tool NAME" in refused.stderr

    assert len(pairstream(*command, "--code-tool", "try_out").stdout.splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--code-tool", "x", "-"], "go with a --format other than events"),
        (["--format", "cha", "-"], "'cha' is not one of"),
        (["-", "-"], "standard input (-) can be read once"),
        (["--format", "chat", "-", "x.jsonl", "-"], "standard input (-) can be read once"),
    ],
)
def test_wrong_usage_is_told(pairstream: Pairstream, arguments: list[str], why: str) -> None:
    done = pairstream("ingest", *arguments, check=False, stdin="")

    assert (done.returncode, why in done.stderr) == (2, True)


def test_folder_without_files_of_the_format_is_named(
    pairstream: Pairstream, tmp_path: Path
) -> None:
    done = pairstream("ingest", "--format", "atif", "--print", tmp_path, check=False)

    assert done.returncode == 1
    assert f"{tmp_path} holds no trajectory*.json or result.json" in done.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_nonsense_is_an_error_line_and_no_crash(pairstream: Pairstream, name: str) -> None:
    done = pairstream("ingest", "--format", name, "--print", "-", stdin="nonsense", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("-")
    assert "Traceback" not in done.stderr
