"""What the blows fall on: nodes, workers, a trainer, and what is needed to see them recover."""

import itertools
import os
import time
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pairstream.cluster import Cluster, apply_topics
from schemas.clients import connection, waiting_cures
from tests.chaos.nodes import COUNT, Node, Nodes
from tests.chaos.schedule import Blow
from tests.chaos.supervisor import ChaosError, Life, Supervised, wait_until
from tests.chaos.watch import Watch
from tests.kafka.services import Deployment

WORKERS = 3
RUN_TIMEOUT_SECONDS = "20"
TRIGGER_PAIRS = "200"
SETTLE_SECONDS = 180.0
GROUP_SECONDS = 60.0
ANSWER_SECONDS = 5.0

TAKEN_OVER = "partitions_taken_over"
TRAINER_STARTED = "trainer_started"


class Field:
    """One deployment under fire; `folder` holds its logs and the trainer's data."""

    def __init__(self, nodes: Nodes, prefix: str, folder: Path) -> None:
        self.nodes = nodes
        self.folder = folder
        self.deployment = Deployment(nodes.inner_servers, prefix, folder)
        settings = msgspec.structs.replace(self.deployment.settings, replication_factor=COUNT)
        list(apply_topics(Cluster(settings), settings))
        self.environment = {
            **os.environ,
            **self.deployment.environment,
            "PAIRSTREAM_BOOTSTRAP_SERVERS": nodes.servers,
            "PAIRSTREAM_RUN_TIMEOUT_SECONDS": RUN_TIMEOUT_SECONDS,
            "PAIRSTREAM_SEGMENT_SECONDS": "3",
        }
        self._settings = settings
        self._numbers = itertools.count(1)
        self.workers: list[Supervised] = []
        self.watched: list[Supervised] = []
        self.trainer_command = [
            "trainer", "--launcher", "none", "--trigger-pairs", TRIGGER_PAIRS
        ]  # fmt: skip
        self.trainer = Supervised("trainer", self.trainer_command, folder, self.environment)
        self.watched.append(self.trainer)
        for _ in range(WORKERS):
            self.add_worker()
        self.watch = Watch(settings, self.watched)

    @property
    def lives(self) -> list[Life]:
        return [life for process in self.watched for life in process.lives]

    def add_worker(self) -> None:
        name = f"worker-{next(self._numbers)}"
        worker = Supervised(name, ["worker"], self.folder, self.environment)
        self.workers.append(worker)
        self.watched.append(worker)

    def retire_worker(self, worker: Supervised) -> None:
        self.workers.remove(worker)
        worker.retire()

    def node(self, blow: Blow) -> Node:
        return self.nodes.all[blow.target % len(self.nodes.all)]

    def await_settled(self, runs: int) -> float:
        """Until so many more runs are settled; the seconds that it took."""
        self.watch.check_alive()
        goal = sum(self.watch.counts()) + runs
        what = f"the outcomes of {runs} more runs"
        return wait_until(lambda: sum(self.watch.counts()) >= goal, what, seconds=SETTLE_SECONDS)

    def await_settled_everywhere(self, runs: int) -> float:
        """The same for each partition: nobody's work stands still."""
        self.watch.check_alive()
        before = self.watch.counts()

        def has_come() -> bool:
            gains = [now - then for now, then in zip(self.watch.counts(), before, strict=True)]
            return min(gains) >= runs

        what = f"the outcomes of {runs} more runs of each partition"
        return wait_until(has_come, what, seconds=SETTLE_SECONDS)

    def sit_out(self, seconds: float) -> None:
        """The length of an outage that nothing inside it could tell the end of."""
        ends_at = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= ends_at, "the end of an outage")

    def has_taken_over(self, life: Life) -> bool:
        return TAKEN_OVER in life.log

    def await_started_trainer(self) -> Life:
        wait_until(
            lambda: not self.trainer.life.has_ended and TRAINER_STARTED in self.trainer.life.log,
            "the trainer's start",
        )
        return self.trainer.life

    def _admin(self) -> AdminClient:
        """A new one: where all nodes died, an old one asks for the coordinator in vain."""
        return AdminClient(connection(self._settings) | {"log_level": 0})

    def members(self) -> int:
        """Of the workers' group now; more than there can be while the coordinator moves."""
        group, admin = self.deployment.names.worker_app, self._admin()
        asked = admin.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)
        try:
            return len(asked[group].result().members)
        except KafkaException as error:
            if waiting_cures(error.args[0]):
                return len(self.workers) + 1
            raise

    def delete_group(self) -> None:
        wait_until(self._deletes_group, "the deletion of the group", seconds=GROUP_SECONDS)
        self.watch.forget_commits()

    def _deletes_group(self) -> bool:
        group, admin = self.deployment.names.worker_app, self._admin()
        asked = admin.delete_consumer_groups([group], request_timeout=ANSWER_SECONDS)
        try:
            asked[group].result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.NON_EMPTY_GROUP or waiting_cures(error.args[0]):
                return False  # members that have to time out, or a coordinator to be elected
            if code != KafkaError.GROUP_ID_NOT_FOUND:
                raise
        return True

    def stop(self) -> None:
        """In peace everything must end cleanly when asked."""
        for process in [*self.workers, self.trainer]:
            code = process.retire()
            if code:
                raise ChaosError(f"{process.name} exited {code} after SIGTERM in peace")

    def abandon(self) -> None:
        self.watch.close()
        for process in self.watched:
            process.abandon()
