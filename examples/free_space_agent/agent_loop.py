"""The agent's loop: look around, plan, write programs, run them, learn from errors, report."""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from disk_tasks import RULES, Task, make_task
from fenced_run import ORDINARY_LIMITS, Limits, run_fenced
from program_writer import Attempt, Fault, Message, Writer, Writers

from pairstream_client import Publisher, RunRecorder

AGENT_ID = "free-space-agent"
TASKS = 1000
MOST_STRATEGIES = 3
MOST_ATTEMPTS = 3
MOST_SEEN_CHARACTERS = 350

# Programs that look around. They print no path outside the disk and no fraction of a day, so that
# the same disk gives the same prompt.
GETTERS = (
    """\
import os

for folder, _, names in sorted(os.walk('.')):
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    if names:
        print(folder, size // 1024, 'KiB')
""",
    """\
from pathlib import Path

files = [(path.stat().st_size, path) for path in Path('.').rglob('*') if path.is_file()]
for size, path in sorted(files)[-6:]:
    print(size, path)
""",
    """\
import time
from pathlib import Path

for path in sorted(Path('tmp').rglob('*.*')):
    print(path, round((time.time() - path.stat().st_mtime) / 86400), 'days old')
""",
)


@dataclass(frozen=True)
class Report:
    """What one run came to."""

    run_id: str
    task_id: str
    strategies: int
    attempts: int
    best_score: float


class Agent:
    """Works off one run after another; `is_stopping` is asked after each attempt.

    `run_ids` is what the runs are called, before their number; None: each gets a random id.
    """

    def __init__(
        self,
        writers: Writers,
        *,
        seed: int,
        publisher: Publisher,
        is_stopping: Callable[[], bool] = lambda: False,
        limits: Limits = ORDINARY_LIMITS,
        run_ids: str | None = None,
    ) -> None:
        self._writers = writers
        self._run_ids = run_ids
        self._seed = seed
        self._publisher = publisher
        self._is_stopping = is_stopping
        self._limits = limits

    def work(self, number: int) -> Report:
        """Do one run and report it. The same seed and number: the same run, but for its id."""
        rng = random.Random(f"run {self._seed} {number}")  # noqa: S311 - draws, guards nothing
        task = make_task(rng.randrange(TASKS))
        getters = rng.sample(GETTERS, 2)
        prompts = prompts_for([look_around(task, getter, self._limits) for getter in getters])
        writer = self._writers.for_run(number)
        scores: list[float] = []
        proposed = 0
        with RunRecorder(
            prompts=prompts,
            agent_id=AGENT_ID,
            task_id=task.task_id,
            policy_id=self._writers.policy_id,
            new_sp_egc_s=getters,
            run_id=f"{self._run_ids}-{number + 1}" if self._run_ids else None,
            publisher=self._publisher,
        ) as run:
            for _ in range(rng.randint(1, MOST_STRATEGIES)):
                if self._is_stopping():
                    break
                text = writer.propose([message for part in prompts.values() for message in part])
                strategy = run.propose(text)
                proposed += 1
                for attempt in self._attempts(task, writer, text):
                    strategy.attempt(**vars(attempt))
                    scores.append(attempt.score)
        return Report(run.run_id, task.task_id, proposed, len(scores), max(scores, default=0.0))

    def _attempts(self, task: Task, writer: Writer, strategy: str) -> Iterator[Attempt]:
        """Try until it works, attempts run out or the agent is stopped."""
        failed: list[Attempt] = []
        for _ in range(MOST_ATTEMPTS):
            attempt = try_out(task, writer.program(strategy, failed), self._limits)
            yield attempt
            if attempt.score > 0 or self._is_stopping():
                return
            if attempt.fault is None:
                failed.append(attempt)


def prompts_for(seen: Sequence[str]) -> dict[str, list[Message]]:
    """The four parts of the prompt, with what looking around has shown."""
    return {
        "system_plist": _message("system", "You free disk space: you plan, then write Python."),
        "basic_env_plist": _message(
            "user",
            "The current folder is a small disk with home/, srv/, tmp/ and var/. "
            f"{RULES} The score is the number of bytes freed, 0 when anything else is harmed.",
        ),
        "special_egc_req_plist": _message("user", "Looking around shows:\n" + "\n".join(seen)),
        "strat_code_req_plist": _message(
            "user",
            "Propose one strategy in a sentence or two. "
            "A program of the standard library will be written from it alone.",
        ),
    }


def look_around(task: Task, getter: str, limits: Limits) -> str:
    """Run an environment getter on the task's disk; what it prints, in whole lines."""
    with _fresh_disk(task) as disk:
        ran = run_fenced(getter, disk, limits)
    if not ran.ran:
        return f"(nothing: {ran.error})"
    return ran.output[: MOST_SEEN_CHARACTERS + 1].rpartition("\n")[0]


def try_out(task: Task, code: str, limits: Limits) -> Attempt:
    """Compile and run a program on a fresh disk of the task, and measure what it achieved."""
    with _fresh_disk(task) as disk:
        ran = run_fenced(code, disk, limits)
        score, error = measure(task, disk) if ran.ran else (0.0, ran.error)
    fault: Fault | None = "infrastructure" if ran.is_void else None
    return Attempt(code, ran.compiled, ran.ran, score, error, fault)


def measure(task: Task, disk: Path) -> tuple[float, str | None]:
    """Score a disk that a program has worked on: bytes freed, and why if there are none."""
    freed = task.bytes_freed(disk)
    damaged = task.damage(disk)
    if damaged is not None:
        return 0.0, f"{damaged} must stay as it is, and does not"
    if freed <= 0:
        return 0.0, "the program ran and freed nothing"
    return float(freed), None


@contextmanager
def _fresh_disk(task: Task) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="free-space-") as folder:
        disk = Path(folder).resolve()  # as programs see it
        task.build(disk)
        yield disk


def _message(role: str, content: str) -> list[Message]:
    return [{"role": role, "content": content}]
