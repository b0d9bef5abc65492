"""`pairstream replay --from events` with a program that redacts."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from schemas.errors import InvalidSettings, PairstreamError
from tests.commands.deployment import Deployment, mixed_run

# Ends, as often as it is started, at the texts of some runs, of more than a worker bears in a row.
BREAKS = """
import json, sys
for line in sys.stdin:
    if "bad-" in line:
        raise SystemExit
    print(json.dumps([text.upper() for text in json.loads(line)]), flush=True)
"""


@pytest.fixture
def program(deployment: Deployment, tmp_path: Path) -> Path:
    script = tmp_path / "redact.py"
    script.write_text(BREAKS)
    command = shlex.join([sys.executable, str(script)])
    deployment.env["PAIRSTREAM_REDACT_COMMAND"] = command
    return script


def _pairs(folder: Path) -> list[str]:
    texts = "".join((folder / name).read_text() for name in ("train.jsonl", "eval.jsonl"))
    return sorted(json.loads(line)["run_id"] for line in texts.splitlines())


def test_runs_that_cannot_be_redacted_are_counted_and_hold_up_no_others(
    deployment: Deployment, program: Path, tmp_path: Path
) -> None:
    for number in range(5):
        deployment.say(*mixed_run(f"bad-{number}"))
    for number in range(2):
        deployment.say(*mixed_run(f"good-{number}"))
    out, again = tmp_path / "out", tmp_path / "again"

    with pytest.raises(PairstreamError, match=r"^5 runs are left out of .*: mend the program of"):
        deployment.run("replay", "--from", "events", "--out", out)
    assert _pairs(out) == ["good-0", "good-1"]

    program.write_text(BREAKS.replace("bad-", "worse-"))
    deployment.run("replay", "--from", "events", "--out", again)
    assert len(_pairs(again)) == 7


def test_a_program_that_is_none_is_a_wrong_setting(deployment: Deployment, tmp_path: Path) -> None:
    deployment.env["PAIRSTREAM_REDACT_COMMAND"] = "no-such-program"

    with pytest.raises(InvalidSettings, match="no-such-program is no program"):
        deployment.run("replay", "--from", "events", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
