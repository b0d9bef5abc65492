"""Runs a training's process and writes down how it ended, whether the trainer lives or not.

`python supervise.py FOLDER COMMAND...` imports nothing of ours. It holds FOLDER/process.lock for as
long as the command lives, so that a second one ends at once.
"""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

LOCK = "process.lock"
EXIT_CODE = "exit_code"

SIGNAL_BASE = 128


def main() -> None:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if (folder / EXIT_CODE).exists():
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with (folder / "training.log").open("ab") as output:
            # The child inherits the lock: it counts as running until it has really ended.
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                pass_fds=[lock.fileno()],
            )  # fmt: skip
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        code = child.wait()
        code = code if code >= 0 else SIGNAL_BASE - code
        temporary = folder / f".{EXIT_CODE}.tmp"
        temporary.write_text(str(code))
        temporary.replace(folder / EXIT_CODE)


if __name__ == "__main__":
    main()
