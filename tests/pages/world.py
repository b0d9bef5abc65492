"""What the pages take to be there: topics with runs in them, datasets, models, agents' files.

Names are those of the pages: `r-1`, `ds-000002`, `models/my-model`, and so on.
"""

import re
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pairstream.cluster import describe_worker_source
from pairstream.tiny_model import make_tiny_model
from schemas.topics import RUN_EVENTS
from streams.state import SOURCE_KEY
from tests.commands.deployment import (
    NOW,
    PARTITIONS,
    Deployment,
    Event,
    attempted,
    finished,
    first_time_run,
    mixed_run,
    proposed,
    started,
)
from tests.commands.test_models import make_model
from tests.pages.reading import ROOT
from tests.trainer.judged import GOOD, WORSE
from trainer.archive import archive
from trainer.datasets import read_manifest
from trainer.gate import Measured, judge_figures
from trainer.latest import promote_by_gate
from trainer.layout import DataDir
from trainer.training_manifest import MADE, read_training, write_training

RECORDED = ROOT / "tests" / "formats" / "recorded"

DATASETS = ("ds-000001", "ds-000002", "ds-000003")
TRAINED = "dpo-ds-000001"
# The first was trained when nothing was held out.
UNCOMPARED = replace(GOOD, pairs=0, base=None, candidate=None)
MODELS: dict[str, Measured] = {
    TRAINED: UNCOMPARED, "dpo-ds-000002": GOOD, "dpo-ds-000003": WORSE,
}  # fmt: skip

# An agent that dies before a broker has what it recorded: argument: the folder of its spool.
KILLED_AGENT = """
import os, signal, sys
from pairstream_client import Publisher, RunRecorder

parts = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")
run = RunRecorder(
    dict.fromkeys(parts, []), run_id="killed", publisher=Publisher("127.0.0.1:1", spool=sys.argv[1])
)
run.propose("Print.").attempt("print()", compiled=True, ran=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

# Makes the topics that it is given, as a Collector's exporter does.
MAKE_TOPICS = """
import os, sys
from confluent_kafka.admin import AdminClient, NewTopic

admin = AdminClient({"bootstrap.servers": os.environ["PAIRSTREAM_BOOTSTRAP_SERVERS"]})
for made in admin.create_topics([NewTopic(name, 1, 1) for name in sys.argv[1:]]).values():
    made.result()
"""

# The runbook shows the letter at offset 17 of a partition.
LETTERS = 20


def make_places(folder: Path) -> None:
    """What a reader has: a checkout with its environment, a home, base models, agents' files."""
    checkout = folder / "home" / "pairstream"
    checkout.mkdir(parents=True)
    for place in (checkout, folder):
        (place / ".venv").symlink_to(sys.prefix)
        (place / "examples").symlink_to(ROOT / "examples")
    make_tiny_model(folder / "models" / "my-model")
    for name in ("other", "base", "qwen3-0.6b"):
        (folder / "models" / name).symlink_to("my-model")
    (folder / "FOLDER").symlink_to("models/my-model")
    demo = checkout / "pairstream-data" / "demo-20261130-100000"
    demo.mkdir(parents=True)
    (demo / "base-model").symlink_to(folder / "models" / "my-model")


def make_files_of_agents(folder: Path) -> None:
    """Traces and logs, under the names that the pages give them."""
    for name, source in {
        "traces.jsonl": "otlp/pydantic_ai.jsonl",
        "spans.jsonl": "openinference/smolagents.jsonl",
        "spans.pb": "openinference/openai_agents.pb",
    }.items():
        shutil.copy(RECORDED / source, folder / name)
    shutil.copytree(RECORDED / "atif" / "job", folder / "jobs" / "2026-11-30")
    for name in ("trajectories", "reports"):
        (folder / name).mkdir()
    for source in (RECORDED / "swe-agent").iterdir():
        place = "reports" if "report" in source.name else "trajectories"
        shutil.copy(source, folder / place)
    chats = (RECORDED / "chat" / "chats.jsonl").read_text()
    named = re.sub(r'"(?:score|reward)":([\d.]+)', r'"scores":{"quality":\1}', chats)
    (folder / "logs.jsonl").write_text(named)
    (folder / "killed_agent.py").write_text(KILLED_AGENT)
    (folder / "make_topics.py").write_text(MAKE_TOPICS)


def make_rows(bootstrap_servers: str, folder: Path) -> DataDir:
    """Runs of every end, dead letters, and three datasets in `pairstream-data`."""
    made = Deployment(bootstrap_servers, "", folder / "pairstream-data")
    ids = {"agent_id": "cleaner-7", "task_id": "t-3", "policy_id": "base"}
    (begin, *rest) = mixed_run("r-1")
    made.say(begin | ids, *rest, *mixed_run("RUN_ID"), *mixed_run("demo-7"))
    made.say(*_hopeless_run("demo-8"))
    cut = None
    for number, mark in enumerate(("a", "b", "c")):
        made.say(*_many_runs(mark))
        if not number:
            _leave_letters(made)
        made.settle(now_ms=int(time.time() * 1000))
        made.garble()
        made.take_in()
        cut = made.cut(cut)
    _tell_source(made)
    return made.data


def _tell_source(made: Deployment) -> None:
    """As workers tell in their state which topics it is of; without it, they refuse the state."""
    source = describe_worker_source(made.cluster, made.names)
    for partition in range(PARTITIONS):
        made.send(made.names.state_changelog, SOURCE_KEY, source, partition=partition)


def _hopeless_run(run_id: str) -> list[Event]:
    """None of its three attempts ran."""
    attempts = [attempted(run_id, n, 0, compiled=False, ran=False) for n in (1, 2, 3)]
    begun = started(run_id, new_sp_egc_s=["print()"])
    return [begun, proposed(run_id), *attempts, finished(run_id)]


def _many_runs(mark: str) -> list[Event]:
    return [
        event
        for number in range(12)
        for event in (mixed_run if number % 3 else first_time_run)(f"{mark}-{number}")
    ]


def _leave_letters(made: Deployment) -> None:
    """As many as the pages look at, all on partition 0, and one of a run that was settled."""
    topic = made.names.topic(RUN_EVENTS)
    number = 0
    while made.send(topic, (key := f"bad-{number}".encode()), b"no event")[0]:
        number += 1
    for _ in range(LETTERS):
        made.send(topic, key, b"no event")
    made.say(attempted("demo-7", 9, 1))


def make_stand_in_models(data: DataDir) -> None:
    """For pages that only look at them."""
    for days, (name, measured) in enumerate(MODELS.items()):
        make_model(data, name, measured, days=days)
        (data.models / name / "training.log").write_text("step 1/1 loss 0.6931\n")


def adopt_models(data: DataDir, trained: Path) -> None:
    """Three models of one that was trained for real, under the names and figures of the pages."""
    for days, (name, measured) in enumerate(MODELS.items()):
        folder = data.models / name
        shutil.copytree(trained, folder, symlinks=True)
        manifest = read_training(folder)
        assert manifest is not None
        dataset = read_manifest(data.datasets / name.removeprefix("dpo-"))
        verdict = judge_figures(measured, min_pairs=20)
        figures = (manifest.figures or {}) | {"gate": msgspec.to_builtins(measured)}
        changed = replace(
            manifest,
            training_id=name,
            dataset=dataset.name,
            dataset_sha256={file: entry.sha256 for file, entry in dataset.files.items()},
            finished_at=NOW + timedelta(days=days),
            figures=figures,
            gate=verdict,
        )
        (folder / "manifest.json").unlink()
        write_training(folder, changed)
        archive(folder, (*MADE, "manifest.json"), data.models / f"{name}.tar.gz")
        if verdict.passed:
            promote_by_gate(data.models, name, verdict.told)
