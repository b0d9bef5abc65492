"""The user's own gate: an argument list, a time limit, and no more than that of our secrets."""

import shlex
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import InvalidSettings, PairstreamError
from tests.trainer.bench import is_running
from tests.waiting import wait_for
from trainer import gate_command
from trainer.gate_command import ask_command, gate_words
from trainer.verdict import Check

pytestmark = pytest.mark.long


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def ask(
    code: str, folder: Path, *, seconds: float = 60, stop: threading.Event | None = None
) -> Check | None:
    return ask_command(python(code), folder, seconds=seconds, stop=stop or threading.Event())


@pytest.mark.parametrize(
    ("code", "passed", "exit_code", "note"),
    [
        ("print('good enough')", True, 0, "good enough"),
        ("print('a')\nprint('b ')\nprint()", True, 0, "b"),
        ("", True, 0, "exit code 0"),
        ("import sys; print('first'); sys.exit('worse on 3 tasks')", False, 1, "worse on 3 tasks"),
        ("raise SystemExit(7)", False, 7, "exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", False, -9, "exit code -9"),
        ("print('x' * 100_000)", True, 0, "x" * 200),
        ("print('\\x1b[2Jgone')", True, 0, "?[2Jgone"),
        ("import sys; sys.stdout.buffer.write(b'\\xff bad')", True, 0, "\ufffd bad"),
    ],
)
def test_the_exit_code_decides_and_the_last_line_is_the_reason(
    code: str, passed: bool, exit_code: int, note: str, tmp_path: Path
) -> None:
    check = ask(code, tmp_path)

    assert check == Check(
        name="command", passed=passed, candidate=exit_code, limit="exit code 0", note=note
    )


def test_the_folder_is_its_last_argument_and_no_shell_sees_it(tmp_path: Path) -> None:
    folder = tmp_path / "$(touch stray); `touch stray`"
    folder.mkdir()

    check = ask("import sys; print(sys.argv[1:])", folder)

    assert check is not None
    assert check.note == str([str(folder)])
    assert not Path("stray").exists()


def test_its_output_stays_in_the_folder(tmp_path: Path) -> None:
    ask("import sys; print('out', flush=True); print('err', file=sys.stderr)", tmp_path)

    assert (tmp_path / "gate.log").read_text() == "out\nerr\n"


def test_a_link_that_a_training_left_for_its_output_leads_nowhere(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "model"
    victim.write_text("kept")
    folder.mkdir()
    (folder / "gate.log").symlink_to(victim)

    ask("print('out')", folder)

    assert victim.read_text() == "kept"
    assert (folder / "gate.log").read_text() == "out\n"
    assert not (folder / "gate.log").is_symlink()


def test_it_gets_the_environment_without_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD", "secret")
    monkeypatch.setenv("PAIRSTREAM_SSL_KEY_PASSWORD", "secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    monkeypatch.setenv("PAIRSTREAM_DATA_DIR", "here")

    ask("import os; print('\\n'.join(os.environ))", tmp_path)

    names = (tmp_path / "gate.log").read_text().split()
    assert {"PATH", "PAIRSTREAM_DATA_DIR"} <= set(names)
    assert not [name for name in names if "PASSWORD" in name or "HEADERS" in name]


WAITS = (
    "import os, pathlib, time\npathlib.Path(r'{}').write_text(str(os.getpid()))\ntime.sleep(600)"
)


def test_one_that_takes_too_long_is_ended_and_refuses(tmp_path: Path) -> None:
    number = tmp_path / "number"

    check = ask(WAITS.format(number), tmp_path, seconds=1)

    assert check is not None
    assert (check.passed, check.candidate, check.note) == (False, None, "it took longer than 1 s")
    assert not (number.exists() and is_running(int(number.read_text())))


def test_one_that_does_not_end_when_asked_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_command, "STOP_SECONDS", 0.2)
    number = tmp_path / "number"
    child = f"import signal; signal.signal(15, signal.SIG_IGN)\n{WAITS.format(number)}"
    stubborn = (
        "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, stubborn, tmp_path, stop=stop)
        wait_for(lambda: number.exists() and number.read_text() != "")
        stop.set()
        assert asked.result(30) is None

    wait_for(lambda: not is_running(int(number.read_text())))


def test_a_trainer_that_stops_ends_it_and_decides_nothing(tmp_path: Path) -> None:
    number, stop = tmp_path / "number", threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, WAITS.format(number), tmp_path, stop=stop)
        wait_for(lambda: number.exists() and number.read_text() != "")
        stop.set()
        assert asked.result(30) is None

    assert not is_running(int(number.read_text()))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", []),
        (f"{shlex.quote(sys.executable)} -c 'a b' --x=1", [sys.executable, "-c", "a b", "--x=1"]),
    ],
)
def test_a_command_is_split_as_one_would_type_it(command: str, words: list[str]) -> None:
    assert gate_words(command) == words


@pytest.mark.parametrize(
    ("command", "why"),
    [("python3 'x", "No closing quotation"), ("no-such-program --x", "no-such-program is no prog")],
)
def test_a_command_that_cannot_be_is_a_wrong_setting(command: str, why: str) -> None:
    with pytest.raises(InvalidSettings, match=f"PAIRSTREAM_GATE_COMMAND: {why}"):
        gate_words(command)


def test_a_command_that_went_away_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"

    with pytest.raises(PairstreamError, match=r"cannot be started .*PAIRSTREAM_GATE_COMMAND"):
        ask_command([str(gone)], tmp_path, seconds=1, stop=threading.Event())
