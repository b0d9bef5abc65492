"""An agent in plain Python that reports its runs: by hand, by a decorator, and asynchronously.

python examples/plain_python
"""

import asyncio
import functools
import subprocess
import sys
from collections.abc import Callable

from pairstream_client import RunRecorder, Strategy, process_publisher

TASK = "Print the sum of the first 100 square numbers."
PROMPTS = {
    "system_plist": [{"role": "system", "content": "You write Python programs."}],
    "basic_env_plist": [],
    "special_egc_req_plist": [],
    "strat_code_req_plist": [{"role": "user", "content": TASK}],
}
PLAN = "Add up the squares from 1 to 100."
# What a model would write; each try knows what became of the one before it.
TRIES = (
    "print(sum(n * n for n in range(1, 101))",
    "print(sum(n * n for n in range(100)))",
    "print(sum(n * n for n in range(1, 101)))",
)


def score(output: str) -> float:
    return 1.0 if output.strip() == "338350" else 0.0


def run(code: str) -> str:
    """What the program prints. Raises: CalledProcessError. A model's code belongs in a sandbox."""
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def by_hand() -> str:
    """The four events of a run, each where it happens."""
    with RunRecorder(PROMPTS, agent_id="by-hand", task_id="squares") as recorder:
        strategy = recorder.propose(PLAN)
        for code in TRIES:
            try:
                compile(code, "program", "exec")
                output = run(code)
            except SyntaxError as error:
                strategy.attempt(code, compiled=False, ran=False, error=str(error))
            except subprocess.SubprocessError as error:
                strategy.attempt(code, compiled=True, ran=False, error=str(error))
            else:
                strategy.attempt(code, compiled=True, ran=True, score=score(output))
    return recorder.run_id


def reported(runner: Callable[[str], str]) -> Callable[[Strategy, str], str]:
    """Make a function that runs code report what became of it; what it raises passes on."""

    @functools.wraps(runner)
    def run_and_report(strategy: Strategy, code: str) -> str:
        try:
            output = runner(code)
        except Exception as error:
            strategy.attempt(code, compiled=True, ran=False, error=str(error))
            raise
        strategy.attempt(code, compiled=True, ran=True, score=score(output))
        return output

    return run_and_report


def by_decorator() -> str:
    run_and_report = reported(run)
    with RunRecorder(PROMPTS, agent_id="by-decorator", task_id="squares") as recorder:
        strategy = recorder.propose(PLAN)
        for code in TRIES:
            try:
                run_and_report(strategy, code)
            except subprocess.SubprocessError:
                continue
    return recorder.run_id


async def asynchronously() -> str:
    """Recording never waits, so it needs no `await`; each task has a recorder of its own."""
    with RunRecorder(PROMPTS, agent_id="asynchronous", task_id="squares") as recorder:
        strategy = recorder.propose(PLAN)
        for code in TRIES:
            program = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            output, error = await program.communicate()
            if program.returncode:
                strategy.attempt(code, compiled=True, ran=False, error=error.decode())
            else:
                strategy.attempt(code, compiled=True, ran=True, score=score(output.decode()))
    return recorder.run_id


async def several() -> list[str]:
    return list(await asyncio.gather(asynchronously(), asynchronously()))


def main() -> int:
    for run_id in (by_hand(), by_decorator(), *asyncio.run(several())):
        print(f"{run_id}  see: pairstream explain {run_id}")
    # Events are sent in the background: only an agent that ends must wait for them.
    publisher = process_publisher()
    publisher.close(30)
    return 1 if publisher.stats.failed or publisher.stats.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
