"""`pairstream completion`: what shells ask is answered, without loading what runs."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pairstream.__main__ import COMMANDS, cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])

    assert done.exit_code == 0
    assert f"_PAIRSTREAM_COMPLETE={shell}_complete" in done.output


def completed(words: str) -> list[str]:
    """As bash asks: the words so far, the last one to be completed."""
    ask = "import sys; sys.argv = ['pairstream']\nfrom pairstream.__main__ import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env={
            **os.environ,
            "_PAIRSTREAM_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_flags_and_values_are_completed() -> None:
    assert set(completed("pairstream ")) == set(COMMANDS)
    assert completed("pairstream to") == ["topics"]
    assert completed("pairstream topics ") == ["acls", "apply", "migrate"]
    assert "--trigger-pairs" in completed("pairstream trainer --tr")
    assert completed("pairstream trainer --launcher d") == ["docker"]


def test_the_script_of_bash_is_one(tmp_path: object) -> None:
    script = CliRunner().invoke(cli, ["completion", "bash"]).output
    done = subprocess.run(["bash", "-n"], input=script, text=True, check=False)

    assert done.returncode == 0
