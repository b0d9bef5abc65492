"""The main job on one machine: broker, agent, worker, trainer, each a process of its own."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO

import msgspec
import orjson

from pairstream.cluster import Cluster, apply_topics
from pairstream.following import Follower
from pairstream.tail import LogTail
from pairstream.tiny_model import make_tiny_model
from schemas.errors import PairstreamError
from schemas.rows import Outcome
from schemas.settings import ENVIRONMENT_PREFIX, TopicSettings
from schemas.topics import RUN_OUTCOMES, Names
from streams.broker import EmbeddedBroker
from trainer.layout import DataDir
from trainer.training_manifest import LOG, read_training
from trainer.trainings import training_id

# Joining a group takes the embedded broker half of the session timeout.
SESSION_TIMEOUT_SECONDS = 6

# Some steps on a small model on the CPU; a real training takes the defaults.
TRAINING_ARGUMENTS = "--learning-rate 5e-4 --gradient-accumulation 4 --epochs 2 --max-length 4096"

LOOK_SECONDS = 0.2
STOP_SECONDS = 60.0
LIMIT_SECONDS = 3600.0

TOLD = {
    "dataset_published": "threshold reached: {dataset} with {pairs} pairs of {runs} runs",
    "training_prepared": "{step}",
    "training_started": "{training_id} runs in: {detail}",
    "model_archived": "model archived in {archive}",
    "image_removed": "older training image removed: {image}",
    "training_postponed": "training postponed: {why}",
}

Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoOptions:
    """What a person may choose; `folder` is there and empty, `model` is what is trained."""

    folder: Path
    runs: int
    trigger_pairs: int
    launcher: str
    training_python: str | None
    model: Path | None


@dataclass
class Summary:
    """What came out; `outcomes` counts by outcome and reason."""

    training_id: str
    trigger_pairs: int
    outcomes: Counter[str] = field(default_factory=Counter)
    pairs: int = 0


class Watch:
    """What the parts' logs and the outcomes tell, as lines for people."""

    def __init__(self, options: DemoOptions, parts: "Parts") -> None:
        self.summary = Summary(training_id("ds-000001"), options.trigger_pairs)
        self.training = DataDir(options.folder).models / self.summary.training_id
        self.worker_is_ready = self.is_finished = False
        self._worker, self._agent, self._trainer = (
            LogTail(parts.log(name)) for name in ("worker", "agent", "trainer")
        )
        self._script = LogTail(self.training / LOG)

    def news(self, outcomes: Follower) -> Iterator[str]:
        for line in self._worker.news():
            self.worker_is_ready |= "partitions_taken_over" in line
        yield from (f"agent    {line}" for line in self._agent.news())
        for record in outcomes.news():
            yield self._settled(msgspec.json.decode(record.value() or b"", type=Outcome))
        yield from filter(None, map(self._trainer_line, self._trainer.news()))
        yield from filter(None, map(_training_line, self._script.news()))

    def _settled(self, outcome: Outcome) -> str:
        self.summary.outcomes[outcome.reason or outcome.outcome] += 1
        self.summary.pairs += outcome.pairs
        what = outcome.outcome if outcome.reason is None else f"discarded, {outcome.reason}"
        return (
            f"worker   {outcome.run_id} settled: {what}; pairs: {outcome.pairs}, "
            f"in all {self.summary.pairs}"
        )

    def _trainer_line(self, line: str) -> str | None:
        """The trainer's log for people; None for what is of no interest here."""
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            return f"trainer  {line}"
        event = entry.get("event", "")
        self.is_finished |= event == "training_succeeded"
        form = TOLD.get(event)
        return f"trainer  {form.format_map(entry)}" if form else None


def run_demo(options: DemoOptions, say: Say, *, then: Callable[[Summary, str], None]) -> None:
    """Run it all until the first training has ended.

    Args:
        then: called with what came out and the bootstrap servers, while all still runs.

    Raises: PairstreamError with the log to look at when a part failed.
    """
    model = options.model or _made_model(options.folder, say)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        say(f"embedded broker at {broker.bootstrap_servers} (Kafka's protocol, in memory)")
        list(apply_topics(Cluster(_settings(broker)), _settings(broker)))
        parts = Parts(options.folder, _environment(broker, options, model))
        stack.enter_context(parts)
        parts.start("worker", [sys.executable, "-m", "pairstream", "worker"])
        parts.start("trainer", [sys.executable, "-m", "pairstream", "trainer"])
        summary = _watch(options, broker, parts, say)
        then(summary, broker.bootstrap_servers)
        say("stopping the trainer, the worker and the broker")


def _training_line(line: str) -> str | None:
    """Its steps; what the libraries say beside them stays in the log."""
    told = line.startswith(("training on ", "step ", "trained; ", "done"))
    return f"         {line}" if told else None


def agent_folder() -> Path:
    """Where the example agent lies: in the package, or in the checkout."""
    package = Path(str(files("pairstream")))
    packaged = package / "free_space_agent"
    return packaged if packaged.is_dir() else package.parent / "examples" / "free_space_agent"


def check_client() -> None:
    """Raises: PairstreamError when the library that the agent reports through is missing."""
    if importlib.util.find_spec("pairstream_client") is None:
        raise PairstreamError(
            "the demo's agent reports through pairstream-client: pip install ./client"
        )


class Parts:
    """Processes with a log file each; leaving stops them, the last started first."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def has(self, name: str) -> bool:
        return name in self._processes

    def start(self, name: str, command: list[str]) -> None:
        log = self.log(name).open("ab")
        self._logs.append(log)
        self._processes[name] = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is for the demo, which stops them in order
        )

    def check(self) -> None:
        """Raises: PairstreamError when a part ended that should not have, or failed."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None and (code or name != "agent"):
                raise PairstreamError(f"the {name} ended (exit code {code}): see {self.log(name)}")


def _watch(options: DemoOptions, broker: EmbeddedBroker, parts: Parts, say: Say) -> Summary:
    """Start the agent when the worker is ready; tell what happens until the training has ended."""
    watch = Watch(options, parts)
    deadline = time.monotonic() + LIMIT_SECONDS
    # The same ids, so the same runs are held out each time.
    agent = [sys.executable, str(agent_folder()), "--runs", str(options.runs), "--run-ids", "demo"]
    with Follower(_settings(broker), [Names().topic(RUN_OUTCOMES)], since=None) as outcomes:
        while not watch.is_finished:
            for line in watch.news(outcomes):
                say(line)
            if watch.worker_is_ready and not parts.has("agent"):
                parts.start("agent", agent)
            ended = read_training(watch.training)
            if ended is not None and not ended.succeeded:
                raise PairstreamError(f"the training failed: {ended.why}")
            parts.check()
            if time.monotonic() > deadline:
                raise PairstreamError(f"no model after an hour: see the logs in {options.folder}")
            time.sleep(LOOK_SECONDS)
    return watch.summary


def _made_model(folder: Path, say: Say) -> Path:
    model = folder / "base-model"
    make_tiny_model(model)
    say("no --model: a small one with random weights is made (it learns, but writes no programs)")
    return model


def _settings(broker: EmbeddedBroker) -> TopicSettings:
    return TopicSettings(bootstrap_servers=broker.bootstrap_servers)


def _environment(broker: EmbeddedBroker, options: DemoOptions, model: Path) -> dict[str, str]:
    """The parts' settings; what the person has set for other clusters is left out."""
    settings = {
        "BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "SESSION_TIMEOUT_SECONDS": str(SESSION_TIMEOUT_SECONDS),
        "DATA_DIR": str(options.folder),
        "TRIGGER_PAIRS": str(options.trigger_pairs),
        "LAUNCHER": options.launcher,
        "BASE_MODEL": str(model),
        "TRAINING_ARGS": TRAINING_ARGUMENTS,
    }
    if options.training_python:
        settings["TRAINING_PYTHON"] = options.training_python
    outside = {k: v for k, v in os.environ.items() if not k.startswith(ENVIRONMENT_PREFIX)}
    ours = {ENVIRONMENT_PREFIX + name: value for name, value in settings.items()}
    return outside | ours | {"PYTHONUNBUFFERED": "1"}
