"""Runs one program behind the fence; a process of its own, started by `fenced_run`.

A fence against accidents, not a sandbox against malice: limits and an audit hook, and the walls of
`fence_kernel` where the kernel has them. Whoever wants past the hook can get past it.

Usage: python -I -S -B fence_prelude.py FOLDER STATUS_FD CPU_SECONDS MEMORY_BYTES FILE_BYTES
The program comes on standard input. STATUS_FD gets one byte when the fence stands and one more
when the program has compiled; it is closed before the program runs.
"""

# Every program waits for this file, and pathlib takes longer than all of the rest.
# ruff: noqa: PTH100, PTH109, PTH115, PTH118, PTH120
import os
import resource
import sys
from types import CodeType

FENCED = b"F"
COMPILED = b"C"

# Beginnings of audit events that a program for tidying up has no need of.
_REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "os.kill", "signal.pthread_kill", "pty.", "ctypes.", "resource.",
)  # fmt: skip

# Audit events that change files: where their paths stand, each with the place of its dir_fd.
_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.setxattr": ((0, None),),
    "os.removexattr": ((0, None),),
}

# These act on what a link points at; the others act on the link.
_FOLLOWING = frozenset({"os.chmod", "os.chown", "os.utime", "os.truncate", "os.setxattr"})

_OPENED_TO_CHANGE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def limit(cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    """Lower the limits of this process; they hold for what it starts too."""
    for what, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NPROC, 0),  # does not hold for root; the hook does
        (resource.RLIMIT_CORE, 0),
    ):
        # The hard limit stays: at that of CPU time the kernel kills without saying why.
        hard = resource.getrlimit(what)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (soft, hard))


class Fence:
    """The audit hook: a program behind it changes files in `folder` only."""

    def __init__(self, folder: str) -> None:
        self._root = os.path.realpath(folder)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Raises: PermissionError, in the program, when it wants more than it may."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _OPENED_TO_CHANGE:
                self._check(path, None, follows=True)
        elif event in _CHANGES:
            for path_at, dir_fd_at in _CHANGES[event]:
                dir_fd = None if dir_fd_at is None else arguments[dir_fd_at]
                self._check(arguments[path_at], dir_fd, follows=event in _FOLLOWING)
        elif event.startswith(_REFUSED):
            raise PermissionError(f"{event} is not allowed here")

    def _check(self, given: object, dir_fd: object, *, follows: bool) -> None:
        path = _opened(given) if isinstance(given, int) else os.fsdecode(given)  # type: ignore[arg-type]
        start = _opened(dir_fd) if isinstance(dir_fd, int) and dir_fd >= 0 else os.getcwd()
        place = _real(os.path.join(start, path), follows=follows)
        if place not in (self._root, os.devnull) and not place.startswith(self._root + os.sep):
            raise PermissionError(f"{path} is outside the scratch folder")


def _opened(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _real(path: str, *, follows: bool) -> str:
    parent, name = os.path.split(path)
    if follows or name in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(parent), name)


def raise_walls(folder: str) -> None:
    """Put up what this kernel has, and the hook in any case."""
    # Isolated, Python does not look beside this file; the program is not to look there either.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import fence_kernel

    del sys.path[0]
    fence_kernel.leave_network()
    fence_kernel.confine_writes(folder)
    sys.addaudithook(Fence(folder))


def main() -> None:
    folder, *numbers = sys.argv[1:]
    status_fd, cpu_seconds, memory_bytes, file_bytes = map(int, numbers)
    source = sys.stdin.buffer.read()
    limit(cpu_seconds, memory_bytes, file_bytes)  # the hook would refuse it
    raise_walls(folder)
    os.write(status_fd, FENCED)
    program: CodeType = compile(source, "program.py", "exec", dont_inherit=True)
    os.write(status_fd, COMPILED)
    os.close(status_fd)
    exec(program, {"__name__": "__main__", "__file__": "program.py"})  # noqa: S102 - its purpose


if __name__ == "__main__":
    main()
