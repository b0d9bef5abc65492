"""The virtual environment that trains where there is no Docker."""

import fcntl
import shlex

import pytest

from tests.trainer.bench import Bench
from trainer import process_launcher, training
from trainer.launcher import EngineUnavailable
from trainer.process_launcher import ProcessLauncher

PIP = """\
#!/bin/sh
echo "$@" >> {log}
env >> {log}.environment
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
test ! -e {broken} || test "$2" = venv
"""


class Requirements:
    """An interpreter that only writes down what it is asked to install."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.broken = bench.root / "pip.log", bench.root / "broken"
        python = bench.root / "python"
        paths = {"log": shlex.quote(str(self.log)), "broken": shlex.quote(str(self.broken))}
        python.write_text(PIP.format(**paths))
        python.chmod(0o755)
        monkeypatch.setattr(process_launcher.sys, "executable", str(python))
        self._bench = bench
        self.plan = training._plan(bench.request, bench.settings(training_python=None))
        self.plan.folder.mkdir(parents=True)

    def prepare(self) -> str:
        return ProcessLauncher(self._bench.root / "venv").prepare(self.plan, lambda _: None)

    def commands(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def requirements(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Requirements:
    return Requirements(bench, monkeypatch)


def test_a_virtual_environment_is_made_once_with_torch_first(
    requirements: Requirements, bench: Bench
) -> None:
    python = requirements.prepare()

    assert python == requirements.prepare() == str(bench.root / "venv" / "bin" / "python")
    assert requirements.commands() == [
        f"-m venv {bench.root / 'venv'}",
        "-m pip install torch==0",
        f"-m pip install -r {bench.root / 'venv' / 'requirements.txt'}",
    ]
    assert (bench.root / "venv" / "requirements.txt").read_text() == "torch==0\n"


def test_what_is_installed_gets_no_secret_and_the_rest_of_the_environment(
    requirements: Requirements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package's build may run code of others; an index or a proxy is for it to know."""
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD", "s3cret")
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD_FILE", "/run/s3cret")
    monkeypatch.setenv("PIP_TIMEOUT", "60")
    requirements.prepare()

    told = requirements.log.with_name("pip.log.environment").read_text()
    assert "s3cret" not in told
    assert told.count("PIP_TIMEOUT=60\n") == len(requirements.commands()) == 3


def test_requirements_that_cannot_be_installed_are_tried_again(requirements: Requirements) -> None:
    requirements.broken.touch()
    with pytest.raises(EngineUnavailable, match=r"cannot be installed: see .*/build\.log"):
        requirements.prepare()

    requirements.broken.unlink()
    requirements.prepare()
    assert len(requirements.commands()) == 2 + 3


def test_two_processes_never_make_one_virtual_environment(
    requirements: Requirements, bench: Bench
) -> None:
    with (bench.root / ".venv.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineUnavailable, match="another process makes"):
            requirements.prepare()
    assert not requirements.log.exists()
