"""`pairstream broker` as people run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apache_kafka import free_ports

SECONDS = 60.0


@contextmanager
def broker() -> Iterator["subprocess.Popen[str]"]:
    """A command whose broker answers."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "pairstream", "broker", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert f"embedded broker at 127.0.0.1:{port} " in process.stdout.readline()
            yield process
        finally:
            process.terminate()


@pytest.mark.broker
def test_told_to_stop_it_ends_well() -> None:
    with broker() as process:
        process.terminate()
        assert process.communicate(timeout=SECONDS) == ("", "")

    assert process.returncode == 0


@pytest.mark.broker
def test_a_broker_that_ends_by_itself_is_a_failure() -> None:
    with broker() as process:
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        _, said = process.communicate(timeout=SECONDS)

    assert process.returncode == 1
    [line] = said.splitlines()
    assert line.startswith("pairstream: the embedded broker ended by itself (exit code -9)")
