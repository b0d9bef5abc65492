"""What the blows fall on: nodes, workers, a trainer, and what is needed to see them recover."""

import itertools
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from pairstream.cluster import Cluster, apply_topics
from schemas.clients import connection, waiting_cures
from schemas.errors import PairstreamError
from streams.stacks import END
from tests.chaos.nodes import COUNT, Node, Nodes
from tests.chaos.schedule import Blow
from tests.chaos.supervisor import ChaosError, Life, Supervised, wait_until
from tests.chaos.watch import Watch
from tests.kafka.services import TAKEN_OVER, Deployment

WORKERS = 3
RUN_TIMEOUT_SECONDS = "10"
TRIGGER_PAIRS = "200"
SETTLE_SECONDS = 180.0
GROUP_SECONDS = 60.0
ANSWER_SECONDS = 5.0

AGENT = "tests.chaos.agent_process"
JOURNAL = "agent.jsonl"

TRAINER_STARTED = "trainer_started"


class Field:
    """One deployment under fire; `folder` holds its logs and the trainer's data."""

    def __init__(
        self,
        nodes: Nodes,
        prefix: str,
        folder: Path,
        *,
        session_seconds: float,
        settings: Mapping[str, str],
    ) -> None:
        """`settings`: further ones of the processes, by their variables."""
        self.nodes = nodes
        self.session_seconds = session_seconds
        self.folder = folder
        self.journal = folder / JOURNAL
        self.deployment = Deployment(nodes.inner_servers, prefix, folder)
        topics = msgspec.structs.replace(self.deployment.settings, replication_factor=COUNT)
        list(apply_topics(Cluster(topics), topics))
        self.environment = {
            **os.environ,
            **self.deployment.environment,
            "PAIRSTREAM_BOOTSTRAP_SERVERS": nodes.servers,
            "PAIRSTREAM_RUN_TIMEOUT_SECONDS": RUN_TIMEOUT_SECONDS,
            "PAIRSTREAM_SESSION_TIMEOUT_SECONDS": str(session_seconds),
            "PAIRSTREAM_SEGMENT_SECONDS": "3",
            **settings,
        }
        self._settings = topics
        self._numbers = itertools.count(1)
        self.workers: list[Supervised] = []
        self.watched: list[Supervised] = []
        # What stands still now, and what no blow may fall on.
        self.frozen: list[Supervised] = []
        self.spared: list[Supervised] = []
        self.wakings = 0
        self.trainer_command = [
            "pairstream", "trainer", "--launcher", "none", "--trigger-pairs", TRIGGER_PAIRS
        ]  # fmt: skip
        self.trainer = Supervised("trainer", self.trainer_command, folder, self.environment)
        self.watched.append(self.trainer)
        for _ in range(WORKERS):
            self.add_worker()
        self.watch = Watch(topics, self.watched)

    @property
    def lives(self) -> list[Life]:
        return [life for process in self.watched for life in process.lives]

    def add_worker(self) -> None:
        name = f"worker-{next(self._numbers)}"
        worker = Supervised(name, ["pairstream", "worker"], self.folder, self.environment)
        self.workers.append(worker)
        self.watched.append(worker)

    @property
    def victims(self) -> list[Supervised]:
        """Workers that a blow may fall on."""
        out_of_reach = [*self.frozen, *self.spared]
        return [worker for worker in self.workers if worker not in out_of_reach]

    def retire_worker(self, worker: Supervised) -> None:
        self.workers.remove(worker)
        worker.retire()

    def retire_all(self) -> None:
        """All workers at once."""
        retired, self.workers = self.workers, []
        for worker in retired:
            worker.dismiss()
        for worker in retired:
            worker.await_end()

    def start_agent(self, seed: int, rate: float) -> None:
        """The agent that is a process of its own, and its journal."""
        command = [AGENT, str(seed), str(rate), str(self.journal)]
        self.agent = Supervised("agent", command, self.folder, self.environment)
        self.watched.append(self.agent)

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

    def sit_out(self, seconds: float, since: float) -> None:
        """The length of an outage that nothing inside it could tell the end of."""
        ends_at = since + seconds
        wait_until(lambda: time.monotonic() >= ends_at, "the end of an outage")

    def await_part(self, life: Life) -> None:
        """Until it has taken over partitions, if it lives so long."""
        wait_until(
            lambda: life.has_ended or TAKEN_OVER in life.log,
            f"a part in the work for {life.name}",
            seconds=SETTLE_SECONDS,
        )

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
        described = self._describe_group()
        return len(self.workers) + 1 if described is None else len(described.members)

    def _describe_group(self) -> ConsumerGroupDescription | None:
        """None while there is no coordinator to ask."""
        group, admin = self.deployment.names.worker_app, self._admin()
        asked = admin.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)
        try:
            return asked[group].result()
        except KafkaException as error:
            if waiting_cures(error.args[0]):
                return None
            raise

    def is_calm(self) -> bool:
        """Everything is worked off, by a group that is stable and has every worker in it."""
        described = self._describe_group()
        if described is None or described.state is not ConsumerGroupState.STABLE:
            return False
        if len(described.members) != len(self.workers):
            return False
        try:
            return self.deployment.lag() == 0
        except PairstreamError:
            return False  # no leader or coordinator yet; that it stays so would be seen

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

    def ask_for_stacks(self) -> None:
        """Of every worker that has begun, into its log."""
        for life in [process.life for process in self.workers]:
            if not life.has_ended and TAKEN_OVER in life.log:
                life.process.send_signal(signal.SIGUSR1)
                with suppress(ChaosError):  # what ends meanwhile has none
                    wait_until(lambda life=life: END in life.log, "its stacks", seconds=5)

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
