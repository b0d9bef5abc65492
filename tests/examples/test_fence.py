import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fenced_run import Limits, run_fenced

from tests.examples.conftest import AGENT_FOLDER, Fenced

pytestmark = pytest.mark.long

OUTSIDE_CHANGES = {
    "write": "open(kept, 'w')",
    "append": "open(kept, 'a')",
    "update": "open(kept, 'r+')",
    "new file": "open(outside + '/new', 'x')",
    "new file by number": "os.open(outside + '/new', os.O_CREAT)",
    "new file by pathlib": "pathlib.Path(outside, 'new').touch()",
    "remove": "os.remove(kept)",
    "remove by a relative path": "os.remove('../outside/kept')",
    "remove by an opened folder": "os.remove('kept', dir_fd=os.open(outside, os.O_RDONLY))",
    "remove from inside": "os.chdir(outside); os.remove('kept')",
    "remove the folder's files": "shutil.rmtree(outside)",
    "rename": "os.rename(kept, outside + '/other')",
    "move in": "os.rename(kept, 'mine')",
    "move out": "open('mine', 'w').close(); os.replace('mine', kept)",
    "link in": "os.link(kept, 'mine')",
    "link out": "os.symlink('mine', outside + '/new')",
    "write through a link": "os.symlink(kept, 'door'); open('door', 'w')",
    "write through a linked folder": "os.symlink(outside, 'door'); open('door/kept', 'w')",
    "new folder": "os.mkdir(outside + '/new')",
    "remove a folder": "os.rmdir(outside + '/empty')",
    "cut": "os.truncate(kept, 0)",
    "mode": "os.chmod(kept, 0)",
    "mode of an opened file": "os.chmod(os.open(kept, os.O_RDONLY), 0)",
    "owner": "os.chown(kept, os.getuid(), os.getgid())",
    "time": "os.utime(kept, (0, 0))",
    "attribute": "os.setxattr(kept, 'user.mark', b'1')",
}

NEW_PROCESSES = {
    "subprocess": "import subprocess; subprocess.run(['true'])",
    "system": "import os; os.system('true')",
    "fork": "import os; os.fork()",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "multiprocessing": "import multiprocessing as m; m.get_context('fork').Process().start()",
    "kill": "import os; os.kill(os.getppid(), 0)",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "empty").mkdir(parents=True)
    (folder / "kept").write_text("precious")
    return folder


def snapshot(folder: Path) -> list[tuple[Path, int, int, int, bytes | None]]:
    return [
        (path, facts.st_mode, facts.st_mtime_ns, facts.st_nlink, content)
        for path in sorted(folder.rglob("*"))
        for facts in [path.lstat()]
        for content in [path.read_bytes() if path.is_file() else None]
    ]


def with_names(outside: Path) -> str:
    return f"import os, pathlib, shutil\noutside = {str(outside)!r}\nkept = outside + '/kept'\n"


@pytest.mark.parametrize("change", OUTSIDE_CHANGES.values(), ids=OUTSIDE_CHANGES.keys())
def test_program_changes_nothing_outside_its_folder(
    change: str, fenced: Fenced, outside: Path
) -> None:
    before = snapshot(outside)

    ran = fenced(with_names(outside) + change)

    assert snapshot(outside) == before
    assert (ran.compiled, ran.ran, ran.is_void) == (True, False, False)
    assert ran.error is not None
    assert "is outside the scratch folder" in ran.error


def test_program_changes_what_it_likes_inside_its_folder(fenced: Fenced, scratch: Path) -> None:
    ran = fenced("""\
import os, pathlib, shutil
os.makedirs('a/b', exist_ok=True)
pathlib.Path('a/b/c').write_text('1')
os.rename('a/b/c', os.path.abspath('d'))
os.symlink('d', 'link')
os.remove('link')
os.chmod('d', 0o600)
os.utime('d', (0, 0))
shutil.rmtree('a')
os.makedirs('.', exist_ok=True)
print('to nobody', file=open(os.devnull, 'w'))
""")

    assert ran.error is None
    assert ran.ran
    assert [path.name for path in scratch.iterdir()] == ["d"]


def test_removing_a_link_leaves_what_it_points_at(
    fenced: Fenced, scratch: Path, outside: Path
) -> None:
    (scratch / "door").symlink_to(outside / "kept")

    assert fenced("import os; os.remove('door')").ran
    assert (outside / "kept").read_text() == "precious"


@pytest.mark.parametrize("start", NEW_PROCESSES.values(), ids=NEW_PROCESSES.keys())
def test_program_starts_and_signals_no_process(start: str, fenced: Fenced) -> None:
    ran = fenced(start)

    assert (ran.compiled, ran.ran, ran.is_void) == (True, False, False)
    assert ran.error is not None
    assert "is not allowed here" in ran.error


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request as u; u.urlopen('http://127.0.0.1')",
    ],
)
def test_program_opens_no_socket(program: str, fenced: Fenced) -> None:
    ran = fenced(program)

    assert (ran.compiled, ran.ran) == (True, False)
    assert ran.error is not None
    assert "socket." in ran.error
    assert "is not allowed here" in ran.error


@pytest.mark.parametrize(
    ("program", "limits", "error"),
    [
        ("while True: pass", Limits(cpu_seconds=1), "stopped after 1 s of CPU time"),
        ("import time; time.sleep(3600)", Limits(wall_seconds=4), "stopped after 4 s"),
        (
            "import signal, time; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            Limits(cpu_seconds=1, wall_seconds=4),
            "stopped after 4 s",
        ),
        ("bytearray(2**30)", Limits(), "line 1: MemoryError"),
        (
            "with open('big', 'wb') as file:\n    file.write(bytes(2**20 + 1))",
            Limits(file_bytes=2**20),
            "line 1: OSError: [Errno 27] File too large",
        ),
        ("import resource as r; r.setrlimit(r.RLIMIT_CPU, (-1, -1))", Limits(), "setrlimit"),
    ],
    ids=["endless loop", "sleep", "deaf endless loop", "memory hog", "huge file", "higher limit"],
)
def test_running_into_a_limit_is_the_programs_own_failure(
    program: str, limits: Limits, error: str, fenced: Fenced
) -> None:
    ran = fenced(program, limits=limits)

    assert (ran.compiled, ran.ran, ran.is_void) == (True, False, False)
    assert ran.error is not None
    assert error in ran.error


def test_endless_output_is_cut_off(fenced: Fenced) -> None:
    ran = fenced("while True: print('x' * 1000)", limits=Limits(file_bytes=2**20))

    assert (ran.compiled, ran.ran, ran.is_void) == (True, False, False)
    assert 0 < len(ran.output) < 2**17


@pytest.mark.parametrize(
    "program",
    ["for x in y", "(" * 10_000, "x = 'never closed", "a\0b", "return 1", "x = '\ud800'"],
)
def test_what_does_not_compile_does_not_run(program: str, fenced: Fenced) -> None:
    ran = fenced(program)

    assert (ran.compiled, ran.ran, ran.is_void) == (False, False, False)
    assert ran.error


def test_error_names_the_line_and_not_the_folder(fenced: Fenced, scratch: Path) -> None:
    ran = fenced("import os\n\nos.remove(os.path.abspath('gone'))")

    assert ran.error == "line 3: FileNotFoundError: [Errno 2] No such file or directory: './gone'"


@pytest.mark.parametrize(
    ("program", "ran", "error"),
    [
        ("import sys; sys.exit()", True, None),
        ("import sys; sys.exit(3)", False, "exit code 3"),
        ("import sys; sys.exit('no space')", False, "no space"),
        ("if __name__ == '__main__': raise ValueError('x')", False, "line 1: ValueError: x"),
        ("import ctypes; ctypes.string_at(0)", False, "is not allowed here"),
    ],
)
def test_program_has_run_when_it_ends_well(
    program: str, ran: bool, error: str | None, fenced: Fenced
) -> None:
    result = fenced(program)

    assert result.compiled
    assert result.ran == ran
    assert (result.error == error) if error is None else (error in (result.error or ""))


def test_program_sees_nothing_of_the_agents_environment(
    fenced: Fenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCESS_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", str(AGENT_FOLDER))

    ran = fenced(
        "import os, sys\nprint(sorted(os.environ), os.environ['HOME'], os.environ['TMPDIR'])\n"
        "print([p for p in sys.path if 'site-packages' in p or 'free_space_agent' in p])"
    )

    assert ran.output == "['HOME', 'LC_ALL', 'TMPDIR'] . ./tmp\n[]\n"


def test_no_process_is_void(tmp_path: Path) -> None:
    ran = run_fenced("print(1)", tmp_path / "gone", Limits())

    assert (ran.compiled, ran.ran, ran.is_void) == (False, False, True)
    assert ran.error is not None
    assert ran.error.startswith("no process to run it in")


def test_fence_that_does_not_stand_is_void(fenced: Fenced, scratch: Path) -> None:
    ran = fenced("open('ran', 'w')", limits=Limits(memory_bytes=2**20))

    assert (ran.compiled, ran.ran, ran.is_void) == (False, False, True)
    assert list(scratch.iterdir()) == []


def test_kill_that_no_limit_sent_is_void(fenced: Fenced) -> None:
    ran = fenced("import signal; signal.raise_signal(signal.SIGKILL)")

    assert (ran.compiled, ran.ran, ran.is_void) == (True, False, True)
    assert ran.error == "killed by SIGKILL"


def behind_a_kernel_wall(wall: str, then: str) -> subprocess.CompletedProcess[str]:
    """Run Python behind this wall alone, without the hook; skip where the kernel has no such."""
    program = (
        f"import sys; sys.path.append({str(AGENT_FOLDER)!r}); import fence_kernel\n"
        f"if not fence_kernel.{wall}: sys.exit(77)\n{then}"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip(f"this kernel, or this container, does without fence_kernel.{wall}")
    return done


KERNELS_OWN = {
    name: OUTSIDE_CHANGES[name]
    for name in ("write", "new file", "remove", "remove the folder's files", "move in", "cut")
} | {
    "write by an opened folder": (
        "os.open('kept', os.O_WRONLY | os.O_TRUNC, dir_fd=os.open(outside, os.O_RDONLY))"
    ),
    "start a program": "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
}


@pytest.mark.parametrize("change", KERNELS_OWN.values(), ids=KERNELS_OWN.keys())
def test_kernel_alone_refuses_changes_outside(change: str, scratch: Path, outside: Path) -> None:
    before = snapshot(outside)

    done = behind_a_kernel_wall(
        f"confine_writes({str(scratch)!r})",
        f"import os; os.chdir({str(scratch)!r}); open('mine', 'w').close()\n"
        f"{with_names(outside)}{change}",
    )

    assert done.returncode == 1
    assert done.stderr.rstrip().rpartition("\n")[2].startswith(("PermissionError", "OSError"))
    assert snapshot(outside) == before
    assert (scratch / "mine").is_file()


def test_kernel_holds_where_the_hook_is_blind(fenced: Fenced, outside: Path) -> None:
    behind_a_kernel_wall(f"confine_writes({str(outside)!r})", "")

    ran = fenced(with_names(outside) + KERNELS_OWN["write by an opened folder"])

    assert not ran.ran
    assert (outside / "kept").read_text() == "precious"


def test_kernel_alone_refuses_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        assert subprocess.run([sys.executable, "-c", connect], check=False).returncode == 0

        done = behind_a_kernel_wall("leave_network()", connect)

    assert done.returncode == 1
    assert "OSError: [Errno 101]" in done.stderr


def test_programs_leave_no_file_behind_in_the_agents_folder(fenced: Fenced) -> None:
    before = sorted(AGENT_FOLDER.rglob("*"))

    assert fenced("print(1)").ran
    assert sorted(AGENT_FOLDER.rglob("*")) == before
