"""Two sites for all tests: one beside a broker, one of files alone with hostile texts in them."""

import json
import time
import uuid
from collections.abc import Iterator

import msgspec
import pytest

from schemas.rows import Pair, encode, pair_id
from schemas.topics import RUN_EVENTS
from tests.commands.deployment import (
    Deployment,
    attempted,
    finished,
    first_time_run,
    mixed_run,
    proposed,
    started,
)
from tests.commands.test_models import make_model
from tests.trainer.judged import GOOD, WORSE
from tests.ui import hostile
from tests.ui.sites import NO_BROKER, SiteProcess, metrics_line
from trainer.layout import DataDir
from trainer.segments import OpenSegment

STEPS = 40

FAILING = "import os\nfor name in os.listdir('/var/cache'):\n    os.remove(name\n"
WORKING = (
    "import os\nimport shutil\nfor name in os.listdir('/var/cache'):\n    shutil.rmtree(name)\n"
)


@pytest.fixture(scope="session")
def live_deployment(embedded_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Runs of every end, two datasets, two models, a training that goes on, a dead letter."""
    home = tmp_path_factory.mktemp("live")
    made = Deployment(embedded_broker, f"ui{uuid.uuid4().hex[:8]}.", home / "data")
    ids = {"agent_id": "cleaner-1", "task_id": "cache", "policy_id": "base"}
    codes = (attempted("m-1", 1, 0, compiled=False, ran=False, code=FAILING,
                       error="SyntaxError: '(' was never closed"),
             attempted("m-1", 2, 12.5, code=WORKING))  # fmt: skip
    made.say(started("m-1", **ids), proposed("m-1"), *codes, finished("m-1"))
    for number in range(2, 30):
        made.say(*(mixed_run if number % 3 else first_time_run)(f"m-{number}"))
    made.say(started("n-1"), proposed("n-1"), attempted("n-1", 1, 0), finished("n-1"))
    made.say(started("open-1", **ids), proposed("open-1"))
    broken = b'{"type": "code.attempted", "run_id": "bad-1", "attempt": 0}'
    made.send(made.names.topic(RUN_EVENTS), b"bad-1", broken)
    _work(made)
    first = made.cut()
    made.say(*[event for number in range(30, 50) for event in mixed_run(f"m-{number}")])
    _work(made)
    made.cut(first)
    make_model(made.data, "dpo-ds-000001", GOOD, days=0)
    make_model(made.data, "dpo-ds-000002", WORSE, days=1)
    _leave_running(made.data)
    for step in ("requested", "started", "finished"):
        made.step("dpo-ds-000001", step, "ds-000001")
    for step in ("requested", "started"):
        made.step("dpo-ds-000003", step, "ds-000003")
    return made


def _work(made: Deployment) -> None:
    made.settle(now_ms=int(time.time() * 1000))
    made.garble()
    made.take_in()


def _leave_running(data: DataDir) -> None:
    folder = data.models / "dpo-ds-000003"
    folder.mkdir()
    lines = [
        metrics_line(
            step, 60, loss=0.7 - step / 100, **{"rewards/margins": step / 20,
            "rewards/accuracies": min(1.0, 0.5 + step / 70), "logps/chosen": step / 10 - 120,
            "logps/rejected": -120 - step / 3},
        )
        for step in range(1, STEPS + 1)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "training.log").write_text(
        "".join(f"step {step}/60 loss {0.7 - step / 100:.4f}\n" for step in range(1, STEPS + 1))
    )


@pytest.fixture(scope="session")
def live(
    live_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SiteProcess]:
    """The site beside the broker, once it has read everything."""
    home = tmp_path_factory.mktemp("live-site")
    with SiteProcess(live_deployment.env, home=home) as site:
        site.wait_for("/", lambda text: "index up to date" in text and "open runs" in text)
        yield site


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A site without a broker; its one segment holds the hostile pairs."""
    home = tmp_path_factory.mktemp("files")
    data = DataDir(home / "data")
    data.segments.mkdir(parents=True)
    segment = OpenSegment(data.segments, 0, 0)
    for offset, (name, text) in enumerate(hostile.TEXTS.items()):
        pair = hostile_pair(name, text)
        segment.add(pair.pair_id, encode(pair) + b"\n")
        segment.cover(offset)
    segment.close()
    env = {**NO_BROKER, "PAIRSTREAM_DATA_DIR": str(data.root)}
    with SiteProcess(env, home=home / "site") as site:
        total = f"{len(hostile.TEXTS)} in all"
        site.wait_for("/pairs", lambda text: total in text)
        yield site


def hostile_pair(name: str, text: str) -> Pair:
    """The text stands wherever an agent can write one."""
    short = text[:200]
    run_id = f"{name} {short}"[:256]
    prompt = [{"role": "user", "content": text}]
    row = {
        "pair_id": pair_id(run_id, short, "mixed_code", 2, 1),
        "run_id": run_id, "strategy_id": short, "rule": "mixed_code", "prompt": prompt,
        "chosen": [{"role": "assistant", "content": text}],
        "rejected": [{"role": "assistant", "content": f"was {text}"}],
        "chosen_score": 2.0, "rejected_score": 0.0, "chosen_attempt": 2, "rejected_attempt": 1,
        "garbler": None, "agent_id": short, "task_id": short, "policy_id": short,
    }  # fmt: skip
    return msgspec.json.decode(json.dumps(row), type=Pair)
