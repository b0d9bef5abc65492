"""One seed: agents and blows for some time, then peace, then every check."""

import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import msgspec

from schemas.topics import RUN_EVENTS
from tests.chaos.agents import Agent, start_agents
from tests.chaos.blows import STRIKES
from tests.chaos.ends import End, check_end, tally
from tests.chaos.evidence import examine, stored, write_dump
from tests.chaos.expected import expect
from tests.chaos.field import Field
from tests.chaos.journal import read_journal
from tests.chaos.leak import OBSERVED, check_growth
from tests.chaos.ledger import Ledger, counts
from tests.chaos.nodes import Nodes
from tests.chaos.plan import Plan, Result
from tests.chaos.proxy import ProxyLoop
from tests.chaos.schedule import Blow, Round
from tests.chaos.supervisor import ChaosError, wait_until
from tests.chaos.watch import Sample

AGENTS = 3
HASTY_RUNS = 4
RECOVERED_RUNS = 2
COMMAND_SECONDS = 300.0
EXPIRY_SECONDS = 120.0


class Trial:
    """Builds up, strikes, waits, checks; whatever happens, no process is left behind."""

    def __init__(self, home: Path, seed: int, plan: Plan) -> None:
        self.result = Result(seed, Path(tempfile.mkdtemp(prefix=f"pairstream-chaos-{seed}-")))
        self._home = home
        self._plan = plan
        self._ledger = Ledger()

    def run(self) -> Result:
        say(f"seed {self.result.seed} in {self.result.folder}")
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - what others have shown must not go with it
            self._break_off(error)
        return self.result

    def _break_off(self, error: Exception) -> None:
        if isinstance(error, ChaosError):
            self.result.found.wrong.append(str(error))
        else:
            self.result.found.wrong.append(f"the trial broke off: {error!r}")
            say("".join(traceback.format_exception(error)))

    def _run(self) -> None:
        with ExitStack() as stack:
            loop = ProxyLoop()
            stack.callback(loop.close)
            nodes = Nodes(self._home, self.result.folder / "kafka", loop)
            stack.enter_context(nodes.running())
            field = Field(
                nodes,
                f"chaos-{self.result.seed}.",
                self.result.folder,
                session_seconds=self._plan.session_seconds,
                settings=self._plan.settings,
            )
            if self._plan.is_leak_test:
                field.spared.append(field.workers[0])
            stack.callback(field.abandon)
            stack.callback(self._keep, field)
            try:
                self._fight(field, stack)
                self._examine(field)
            except Exception as error:  # noqa: BLE001 - before the evidence is gone
                self._break_off(error)

    def _fight(self, field: Field, stack: ExitStack) -> None:
        field.await_started_trainer()
        settings = msgspec.structs.replace(
            field.deployment.settings, bootstrap_servers=field.nodes.servers
        )
        seed, rate = self.result.seed, self._plan.rate
        agents = start_agents(settings, self._ledger, seed=seed, count=AGENTS, rate=rate)
        field.start_agent(seed, rate)
        for agent in agents:
            stack.callback(agent.stop)
        field.await_settled_everywhere(RECOVERED_RUNS)
        began = time.monotonic()
        struck = self.result.blows.total
        for round_ in self._plan.rounds(seed, struck, lambda: time.monotonic() - began):
            self._strike(field, round_)
        minutes = (time.monotonic() - began) / 60
        self.result.figures["blows_a_minute"] = round(self.result.blows.total() / minutes, 1)
        self._await_peace(field, agents)

    def _strike(self, field: Field, round_: Round) -> None:
        began = time.monotonic()
        try:
            with ExitStack() as ends:
                self._begin(field, round_.blows, ends)
            held = time.monotonic() - began
            if round_.is_hasty:
                seconds = field.await_settled(HASTY_RUNS)
            else:
                seconds = field.await_settled_everywhere(RECOVERED_RUNS)
        except ChaosError as error:
            field.ask_for_stacks()
            raise ChaosError(f"{round_.names}: {error}") from error
        slowest = max(seconds, self.result.recoveries.get(round_.names, 0.0))
        self.result.recoveries[round_.names] = slowest
        haste = " (hasty)" if round_.is_hasty else ""
        say(f"{round_.names}: held {held:.1f} s, went on after {seconds:.1f} s{haste}")

    def _begin(self, field: Field, blows: Sequence[Blow], ends: ExitStack) -> None:
        """Strike; they are made good in the same order, so none waits for what an earlier one
        has taken away.
        """
        begun = list[AbstractContextManager[bool]]()
        try:
            for blow in blows:
                block = STRIKES[blow.kind](field, blow)
                has_struck = block.__enter__()
                begun.append(block)
                if has_struck:
                    self.result.blows[str(blow.kind)] += 1
                else:
                    say(f"{blow.kind} found nothing to strike")
        finally:
            for block in reversed(begun):
                ends.push(block)

    def _await_peace(self, field: Field, agents: list[Agent]) -> None:
        """The last answers, everything worked off, then the expiry of what agents abandoned."""
        figures, began = self.result.figures, time.monotonic()
        field.nodes.await_all()
        for agent in agents:
            agent.stop()
        for agent in agents:
            agent.finish()
        code = field.agent.retire()
        # One that was started only now may not have come to take in the signal.
        if code not in (0, -signal.SIGTERM):
            raise ChaosError(f"the agent's process exited {code} after SIGTERM in peace")
        self._ledger.add(read_journal(field.journal))
        figures["seconds_to_the_last_answer"] = round(time.monotonic() - began, 1)
        seconds = wait_until(
            field.is_calm, "lag 0 in a stable group", seconds=self._plan.liveness_seconds
        )
        figures["liveness_seconds"] = round(seconds, 1)
        figures["two_sessions_seconds"] = 2 * self._plan.session_seconds
        bad = {entry.send_id for entry in self._ledger.entries if entry.is_bad}

        def all_settled() -> bool:
            log = stored(field.deployment, field.deployment.names.topic(RUN_EVENTS))
            return not expect(log, bad=bad).open_runs and field.is_calm()

        wait_until(all_settled, "the expiry of abandoned runs", seconds=EXPIRY_SECONDS)
        field.stop()

    def _examine(self, field: Field) -> None:
        self._commands(field, flush=[*field.trainer_command[1:-1], "1", "--once"])
        self._commands(
            field,
            replay_events=["replay", "--from", "events", "--out", "from-events"],
            replay_pairs=["replay", "--from", "pairs", "--out", "from-pairs"],
            verify=["verify", "--json"],
        )
        forgets = self._plan.is_leak_test
        found, figures = self.result.found, self.result.figures
        found += examine(field.deployment, self._ledger, figures, forgets=forgets)
        if self._plan.is_leak_test:
            found += check_growth(field.watch.memory, figures, observed=OBSERVED)

    def _commands(self, field: Field, **commands: list[str]) -> None:
        """At once; each must succeed."""
        started = {}
        for name, arguments in commands.items():
            with (field.folder / f"{name}.log").open("wb") as log:
                started[name] = subprocess.Popen(
                    [sys.executable, "-m", "pairstream", *arguments],
                    env=field.environment, cwd=field.folder, stdout=log, stderr=log,
                )  # fmt: skip
        for name, process in started.items():
            try:
                code = process.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise ChaosError(f"pairstream {name} took too long") from error
            if code:
                said = (field.folder / f"{name}.log").read_text(errors="replace")[-500:]
                self.result.found.wrong.append(f"pairstream {name} exited {code}: {said}")

    def _keep(self, field: Field) -> None:
        """Judge the ends, and keep what explains a failure."""
        if field.journal.exists():
            self._ledger.add(read_journal(field.journal))
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
            "zombies_woken": field.wakings,
            "commits_that_went_back": len(field.watch.went_back),
            "by_records_at_most": max(field.watch.went_back, default=0),
            "largest_worker_mib": _largest(memory, "worker"),
            "largest_trainer_mib": _largest(memory, "trainer"),
        }
        self._ledger.write(self.result.folder / "ledger.jsonl")
        (self.result.folder / "memory.json").write_bytes(msgspec.json.encode(dict(memory)))
        if self.result.failed:
            write_dump(field.deployment, self.result.folder / "topics")


def _largest(memory: Mapping[str, list[Sample]], name: str) -> int:
    sizes = [
        size for process, found in memory.items() if process.startswith(name) for _, size in found
    ]
    return max(sizes, default=0) // 2**20


def say(text: str) -> None:
    """To who watches."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
