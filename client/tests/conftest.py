"""Fixtures of the client's tests, beside those of the project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from client_support import PROMPTS, EventsTopic, KeepingPublisher, RunScript

from tests.conftest import _no_settings_from_outside, apache_kafka, embedded_broker, prefix

__all__ = ["_no_settings_from_outside", "apache_kafka", "embedded_broker", "prefix"]

SCRIPT_SECONDS = 120.0

# While a thread of librdkafka resolves the broker's name, a fork may leave the child's C library
# unable to: forking tests wait until the parent is connected.
AWAIT_ACKNOWLEDGEMENTS = """
import time

def await_acknowledgements(run):
    while run.publisher.stats.queued:
        time.sleep(0.01)
"""


@pytest.fixture
def keeping() -> KeepingPublisher:
    return KeepingPublisher()


@pytest.fixture
def events_topic(embedded_broker: str, prefix: str) -> EventsTopic:
    return EventsTopic(embedded_broker, prefix)


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Run Python text to its end in a process of its own."""

    def run(text: str, *args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "agent.py"
        script.write_text(f"PROMPTS = {PROMPTS!r}\n{AWAIT_ACKNOWLEDGEMENTS}\n{text}")
        return subprocess.run(
            [sys.executable, str(script), *args],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
            check=False,
        )

    return run
