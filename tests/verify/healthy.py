"""A deployment in which everything has happened that may happen, and in which all is well.

What is written on the way can be damaged, as a fault would damage it: `changes` has for a topic
what becomes of each record. The data directory can be damaged afterwards.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner
from msgspec.structs import replace

from pairstream.__main__ import cli
from schemas.dead_letters import Header
from schemas.rows import TrainingStep, encode
from schemas.topics import RUN_EVENTS, TRAININGS
from tests.commands.deployment import (
    NOW,
    Deployment,
    Event,
    attempted,
    finished,
    first_time_run,
    mixed_run,
    proposed,
    started,
    write_ended_training,
)
from trainer.archive import archive
from trainer.datasets import DatasetManifest, file_sha256
from trainer.latest import promote_by_gate
from trainer.layout import MANIFEST
from trainer.publishing import archive_of
from trainer.training_manifest import ADAPTER, MADE, read_training, write_training

TRAINING = "dpo-ds-000001"
WEIGHTS = f"{ADAPTER}/adapter_model.safetensors"


class Written(NamedTuple):
    """A record on its way to its topic."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def row(self) -> Any:
        return json.loads(self.value or b"null")

    def saying(self, **changes: object) -> "Written":
        """The same row with other fields."""
        return self._replace(value=json.dumps({**self.row, **changes}).encode())


Change = Callable[[Written], list[Written]]


class Damageable(Deployment):
    """A deployment whose writers can be made to lose and spoil what they write."""

    def __init__(self, bootstrap_servers: str, prefix: str, data_dir: Path) -> None:
        self.changes: dict[str, Change] = {}
        super().__init__(bootstrap_servers, prefix, data_dir)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = -1,
        headers: Sequence[Header] = (),
    ) -> list[tuple[int, int]]:
        places: list[tuple[int, int]] = []
        change = self.changes.get(topic)
        written = Written(key, value, headers)
        for record in change(written) if change else [written]:
            places = super()._produce(topic, record.key, record.value, partition, record.headers)
        return places

    def verify(self, *arguments: object) -> dict[str, Any]:
        """The report, whatever it says."""
        words = ["verify", "--json", *map(str, arguments)]
        done = CliRunner().invoke(cli, words, env=self.env)
        assert done.stdout, done.exception
        report: dict[str, Any] = json.loads(done.stdout)
        assert (done.exit_code == 0) == report["holds"]
        return report


def findings(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What is broken, by check."""
    return {check["check"]: check["findings"] for check in report["checks"] if check["findings"]}


def never_successful(run_id: str) -> list[Event]:
    return [started(run_id), proposed(run_id), attempted(run_id, 1, 0), finished(run_id)]


def open_run(run_id: str) -> list[Event]:
    return [started(run_id), proposed(run_id), attempted(run_id, 1, 2.5)]


def live_through(deployment: Damageable) -> list[DatasetManifest]:
    """Two datasets, one of them trained; every verdict on an event; a run that is open."""
    deployment.say(*mixed_run("m-1"), *first_time_run("f-1"), *never_successful("n-1"))
    events = deployment.names.topic(RUN_EVENTS)
    deployment.send(events, b"x", b"\xff no event", headers=[("trace", b"\x01")])
    deployment.send(events, b"m-1", json.dumps({"type": "run.paused", "run_id": "m-1"}).encode())
    deployment.say(attempted("m-1", 3, 1), attempted("n-1", 1, 0))  # too late; said before
    _settle(deployment)
    first = deployment.cut()
    deployment.say(*mixed_run("m-2"), *first_time_run("f-2"), *open_run("o-1"))
    deployment.say(attempted("o-1", 1, 99))  # says otherwise
    deployment.say(*mixed_run("m-3"))
    _settle(deployment)
    second = deployment.cut(first)
    _train(deployment, first)
    deployment.say(*mixed_run("m-4"))
    _settle(deployment)
    return [first, second]


def live_through_shares(deployment: Damageable) -> list[DatasetManifest]:
    """Two datasets that did not take every pair: some are left out for good, others wait, of which
    the second takes some.
    """
    settings = {"max_garbled_share": 0.4, "min_score_gap": 1.0}
    deployment.say(*mixed_run("m-1"), *mixed_run("m-2"), *first_time_run("f-1"), *barely("b-1"))
    deployment.say(*first_time_run("f-2"))
    _settle(deployment)
    first = deployment.cut(**settings)
    deployment.say(*mixed_run("m-3"), *mixed_run("m-4"), *mixed_run("m-5"), *barely("b-2"))
    _settle(deployment)
    second = deployment.cut(first, **settings)
    deployment.say(*mixed_run("m-6"))
    _settle(deployment)
    return [first, second]


def barely(run_id: str) -> list[Event]:
    """Gives a pair with little between its scores."""
    attempts = [attempted(run_id, 1, 0), attempted(run_id, 2, 0.5)]
    return [started(run_id), proposed(run_id), *attempts, finished(run_id)]


def _settle(deployment: Damageable) -> None:
    deployment.settle()
    deployment.garble()
    deployment.take_in()


def _train(deployment: Damageable, dataset: DatasetManifest) -> None:
    for step in ("requested", "started", "promoted", "succeeded"):
        tell_step(deployment, TRAINING, step, dataset)
    write_ended_training(deployment.data, TRAINING, dataset.name, exit_code=0, why=None)
    folder = deployment.data.models / TRAINING
    training = read_training(folder)
    assert training is not None
    weights = folder / WEIGHTS
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    files = {WEIGHTS: file_sha256(weights)}
    write_training(folder, replace(training, dataset_sha256=dataset.hashes, files=files))
    archive(folder, (*MADE, MANIFEST), archive_of(deployment.data.models, TRAINING))
    promote_by_gate(deployment.data.models, TRAINING, "well")


def tell_step(
    deployment: Damageable, training_id: str, step: Any, dataset: DatasetManifest
) -> None:
    row = TrainingStep(training_id, step, NOW, dataset.name, dataset.sha256)
    deployment.send(deployment.names.topic(TRAININGS), training_id.encode(), encode(row))
