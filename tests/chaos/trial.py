"""One seed: agents and blows for some minutes, then peace, then every check."""

import dataclasses
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from schemas.topics import RUN_EVENTS
from tests.chaos.agents import start_agents
from tests.chaos.blows import STRIKES
from tests.chaos.checks import Found
from tests.chaos.ends import End, check_end, tally
from tests.chaos.evidence import examine, stored, write_dump
from tests.chaos.expected import expect
from tests.chaos.field import Field
from tests.chaos.ledger import Ledger, counts
from tests.chaos.nodes import Nodes
from tests.chaos.proxy import ProxyLoop
from tests.chaos.schedule import Kind, Round, rounds
from tests.chaos.supervisor import ChaosError, wait_until

AGENTS = 3
HASTY_RUNS = 10
RECOVERED_RUNS = 5
LIVENESS_SECONDS = 120.0
COMMAND_SECONDS = 300.0


@dataclasses.dataclass
class Result:
    """What came of one seed; `figures` are for people."""

    seed: int
    folder: Path
    found: Found = dataclasses.field(default_factory=lambda: Found([]))
    blows: Counter[str] = dataclasses.field(default_factory=Counter)
    recoveries: dict[str, float] = dataclasses.field(default_factory=dict)
    ended: Counter[str] = dataclasses.field(default_factory=Counter)
    figures: dict[str, object] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.found.wrong)


class Trial:
    """Builds up, strikes, waits, checks; whatever happens, no process is left behind."""

    def __init__(
        self, home: Path, seed: int, *, minutes: float, rate: float, kinds: Sequence[Kind]
    ) -> None:
        self.result = Result(seed, Path(tempfile.mkdtemp(prefix=f"pairstream-chaos-{seed}-")))
        self._home = home
        self._seconds = minutes * 60
        self._rate = rate
        self._kinds = kinds
        self._ledger = Ledger()

    def run(self) -> Result:
        _say(f"seed {self.result.seed} in {self.result.folder}")
        with ExitStack() as stack:
            loop = ProxyLoop()
            stack.callback(loop.close)
            nodes = Nodes(self._home, self.result.folder / "kafka", loop)
            stack.enter_context(nodes.running())
            field = Field(nodes, f"chaos-{self.result.seed}.", self.result.folder)
            stack.callback(field.abandon)
            stack.callback(self._keep, field)
            try:
                self._fight(field, stack)
                self._examine(field)
            except ChaosError as error:
                self.result.found.wrong.append(str(error))
        return self.result

    def _fight(self, field: Field, stack: ExitStack) -> None:
        field.await_started_trainer()
        settings = msgspec.structs.replace(
            field.deployment.settings, bootstrap_servers=field.nodes.servers
        )
        agents = start_agents(
            settings, self._ledger, seed=self.result.seed, count=AGENTS, rate=self._rate
        )
        for agent in agents:
            stack.callback(agent.stop)
        field.await_settled_everywhere(RECOVERED_RUNS)
        ends_at = time.monotonic() + self._seconds
        for round_ in rounds(self.result.seed, self._kinds):
            if time.monotonic() > ends_at:
                break
            self._strike(field, round_)
        for agent in agents:
            agent.finish()
        self._await_peace(field)

    def _strike(self, field: Field, round_: Round) -> None:
        began = time.monotonic()
        blows = [blow for blow in (round_.first, round_.second) if blow is not None]
        names = " + ".join(blow.kind for blow in blows)
        self.result.blows.update(str(blow.kind) for blow in blows)
        try:
            with ExitStack() as stack:
                for blow in blows:
                    stack.enter_context(STRIKES[blow.kind](field, blow))
            held = time.monotonic() - began
            if round_.is_hasty:
                seconds = field.await_settled(HASTY_RUNS)
            else:
                seconds = field.await_settled_everywhere(RECOVERED_RUNS)
        except ChaosError as error:
            raise ChaosError(f"{names}: {error}") from error
        slowest = max(seconds, self.result.recoveries.get(names, 0.0))
        self.result.recoveries[names] = slowest
        haste = " (hasty)" if round_.is_hasty else ""
        _say(f"{names}: held {held:.1f} s, went on after {seconds:.1f} s{haste}")

    def _await_peace(self, field: Field) -> None:
        """Lag 0, then the expiry of the runs that agents abandoned."""
        lag = field.deployment.lag
        seconds = wait_until(lambda: lag() == 0, "lag 0", seconds=LIVENESS_SECONDS)
        self.result.figures["liveness seconds"] = round(seconds, 1)
        bad = {entry.send_id for entry in self._ledger.entries if entry.is_bad}

        def all_settled() -> bool:
            log = stored(field.deployment, field.deployment.names.topic(RUN_EVENTS))
            return not expect(log, bad=bad).open_runs and lag() == 0

        wait_until(all_settled, "the expiry of abandoned runs", seconds=LIVENESS_SECONDS)
        field.stop()

    def _examine(self, field: Field) -> None:
        self._command(field, "flush", [*field.trainer_command[:-1], "1", "--once"])
        for source in ("events", "pairs"):
            replay = ["replay", "--from", source, "--out", f"from-{source}"]
            self._command(field, f"replay-{source}", replay)
        self.result.found += examine(field.deployment, self._ledger, self.result.figures)
        self._command(field, "verify", ["verify", "--json"])

    def _command(self, field: Field, name: str, arguments: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pairstream", *arguments],
            env=field.environment, cwd=field.folder, capture_output=True, text=True, check=False,
            timeout=COMMAND_SECONDS,
        )  # fmt: skip
        (field.folder / f"{name}.log").write_text(done.stdout + done.stderr)
        if done.returncode:
            self.result.found.wrong.append(
                f"pairstream {' '.join(arguments)} exited {done.returncode}: {done.stderr[-500:]}"
            )

    def _keep(self, field: Field) -> None:
        """Judge the ends, and keep what explains a failure."""
        ends = [
            End(life.log_path.name, life.process.returncode, life.asked, life.log)
            for life in field.lives
            if life.has_ended
        ]
        self.result.found.wrong += [wrong for end in ends if (wrong := check_end(end))]
        self.result.ended = tally(ends)
        memory = field.watch.memory
        self.result.figures |= {
            "sends": dict(counts(self._ledger.entries)),
            "processes": len(field.lives),
            "commits that went back": len(field.watch.went_back),
            "by records at most": max(field.watch.went_back, default=0),
            "largest worker MiB": _largest(memory, "worker"),
            "largest trainer MiB": _largest(memory, "trainer"),
        }
        self._ledger.write(self.result.folder / "ledger.jsonl")
        (self.result.folder / "memory.json").write_bytes(msgspec.json.encode(dict(memory)))
        if self.result.failed:
            write_dump(field.deployment, self.result.folder / "topics")


def _largest(memory: dict[str, list[int]], name: str) -> int:
    sizes = [
        size for process, found in memory.items() if process.startswith(name) for size in found
    ]
    return max(sizes, default=0) // 2**20


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
