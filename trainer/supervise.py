"""Runs a training's process and writes down how it ended, whether the trainer lives or not.

`python supervise.py FOLDER COMMAND...` imports nothing of ours. It holds FOLDER/process.lock for as
long as the command lives; a second one waits, and then finds that there is nothing left to do.
"""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

LOCK = "process.lock"
EXIT_CODE = "exit_code"
MANIFEST = "manifest.json"

SIGNAL_BASE = 128
NOT_STARTED = 127


def main() -> None:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    with (folder / LOCK).open("a+") as lock:
        # It waits: whoever looks whether the lock is held, holds it for a moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / EXIT_CODE).exists() or (folder / MANIFEST).exists():
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        # The trainer signals the whole group: this process stays to tell how the other one ended.
        signal.signal(signal.SIGTERM, lambda *_: None)
        write_exit_code(folder, run(command, lock.fileno()))


def run(command: list[str], lock: int) -> int:
    """The child inherits the lock: it counts as running until it has really ended."""
    try:
        code = subprocess.run(command, pass_fds=[lock], check=False).returncode
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error}\n")
        return NOT_STARTED
    return code if code >= 0 else SIGNAL_BASE - code


def write_exit_code(folder: Path, code: int) -> None:
    temporary = folder / f".{EXIT_CODE}.tmp"
    with temporary.open("w") as file:
        file.write(str(code))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / EXIT_CODE)


if __name__ == "__main__":
    main()
