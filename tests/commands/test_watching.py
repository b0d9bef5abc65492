"""`pairstream status --watch`: a screen on a terminal, lines elsewhere."""

import json
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.watching import HOME, REST_OF_LINE, screen
from tests.commands.deployment import Deployment, mixed_run


def test_a_line_a_look_where_there_is_no_terminal(deployment: Deployment) -> None:
    deployment.say(*mixed_run("m-1"))
    deployment.settle()

    lines = deployment.run("status", "--watch", "0.1", "-n", "2").splitlines()

    assert len(lines) == 2
    assert "lag 0; 0 open runs, 1 settled, 1 pairs; 0 of 1000 new pairs" in lines[1]


def test_an_object_a_look_as_json(deployment: Deployment) -> None:
    lines = deployment.run("status", "--json", "--watch", "0.1", "-n", "2").splitlines()

    looks = [json.loads(line) for line in lines]
    assert [look["next_dataset"]["trigger_pairs"] for look in looks] == [1000, 1000]
    assert looks[0]["time"] <= looks[1]["time"]


def test_brokers_that_are_away_do_not_end_it() -> None:
    words = ["status", "--watch", "0.1", "-n", "1", "--bootstrap-servers", "127.0.0.1:1"]
    done = CliRunner().invoke(cli, words)

    assert done.exit_code == 0
    assert "no broker answers at 127.0.0.1:1: is it running" in done.output
    assert "; 0 of 1000 new pairs" in done.output


def test_why_no_broker_answers_is_told_as_json() -> None:
    words = ["status", "--watch", "0.1", "-n", "1", "--json"]
    done = CliRunner().invoke(cli, [*words, "--bootstrap-servers", "127.0.0.1:1"])

    look = json.loads(done.stdout)
    assert look["error"].startswith("no broker answers at 127.0.0.1:1: is it running")
    assert look["cluster"] is None


def test_sigterm_ends_it_cleanly(deployment: Deployment) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pairstream", "status", "--watch", "0.1"],
        env={**os.environ, **deployment.env},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "lag 0" in process.stdout.readline()
    process.terminate()
    _, said = process.communicate(timeout=60)

    assert process.returncode == 0
    assert said == ""


def test_counting_looks_takes_watch() -> None:
    done = CliRunner().invoke(cli, ["status", "-n", "1"])

    assert done.exit_code == 2
    assert "--watch" in done.output


def test_a_screen_is_written_over_the_one_before() -> None:
    text = screen(["one", "two", "three", "four"], height=4)

    assert text.startswith(HOME)
    assert text.count("\n") == 3  # the last line of the screen stays free, or it would scroll
    assert "two" in text
    assert "three" not in text
    assert f"...{REST_OF_LINE}" in text


@pytest.mark.long
def test_on_a_terminal_it_is_drawn_anew() -> None:
    """The real thing, on a pseudo-terminal."""
    leader, follower = pty.openpty()
    words = ["status", "--watch", "0.1", "-n", "2", "--bootstrap-servers", "127.0.0.1:1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pairstream", *words],
        stdout=follower,
        env={**os.environ, "LINES": "24", "TERM": "xterm"},
    )
    os.close(follower)
    shown = _all_of(leader)

    assert process.wait(60) == 0
    assert shown.count(HOME + "pairstream at 127.0.0.1:1") == 2
    assert shown.count("no broker answers at 127.0.0.1:1: is it running") == 2


def _all_of(terminal: int) -> str:
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the other side was closed
            os.close(terminal)
            return shown.decode()
