"""The stacks of a worker that stands still."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, os, signal
from streams import stacks

async def innermost(never):
    await never

async def outer(never):
    await innermost(never)

async def main():
    loop = asyncio.get_running_loop()
    stacks.install(loop, lambda: [])
    task = asyncio.create_task(outer(loop.create_future()), name="stuck")
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0.01)
    print("goes on")
    task.cancel()

asyncio.run(main())
"""


def test_each_task_tells_what_it_waits_for_and_the_process_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    stuck = done.stderr.partition("stuck:\n")[2].splitlines()
    assert [line.rpartition(" ")[2] for line in stuck[:2]] == ["outer", "innermost"]
    assert "Future" in stuck[2]
    assert "Current thread" in done.stderr
    assert done.stderr.endswith("end of the stacks\n")
    assert done.stdout == "goes on\n"
