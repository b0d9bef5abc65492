"""What is read of the Kubernetes API's Jobs and pods; the rest of them may change as it likes."""

from collections.abc import Sequence

import msgspec

from schemas.printable import printable
from trainer.kubernetes_manifest import CONTAINER

WORDS_CHARACTERS = 300


class _Object(msgspec.Struct, frozen=True, rename="camel"):
    """One of the API's, which leaves out what is empty."""


class Words(_Object, frozen=True):
    """Why a thing is as it is, for programs and for people; of containers, and with its exit code
    where one has ended.
    """

    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None

    def __str__(self) -> str:
        told = ": ".join(filter(None, (self.reason, self.message)))
        return printable(told[:WORDS_CHARACTERS])


class Condition(_Object, frozen=True):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None

    @property
    def words(self) -> Words:
        return Words(self.reason, self.message)


class ContainerState(_Object, frozen=True):
    waiting: Words | None = None
    terminated: Words | None = None


class ContainerStatus(_Object, frozen=True):
    name: str
    state: ContainerState = ContainerState()


class Owner(_Object, frozen=True):
    uid: str


class Metadata(_Object, frozen=True):
    name: str
    uid: str
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    owner_references: list[Owner] = []


class PodStatus(_Object, frozen=True):
    phase: str = "Pending"
    reason: str | None = None
    message: str | None = None
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []

    @property
    def words(self) -> Words:
        return Words(self.reason, self.message)


class Pod(_Object, frozen=True):
    metadata: Metadata
    status: PodStatus = PodStatus()

    @property
    def has_ended(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def container(self) -> ContainerState:
        states = (each.state for each in self.status.container_statuses if each.name == CONTAINER)
        return next(states, ContainerState())

    def condition(self, kind: str, status: str) -> Words | None:
        return _condition(self.status.conditions, kind, status)


class Pods(_Object, frozen=True):
    items: list[Pod] | None = None


class JobStatus(_Object, frozen=True):
    conditions: list[Condition] = []


class Job(_Object, frozen=True):
    metadata: Metadata
    status: JobStatus = JobStatus()

    def own(self, pods: Sequence[Pod]) -> list[Pod]:
        """Its own among those of its labels, oldest first: a former Job's may still be there."""
        mine = [pod for pod in pods if self.metadata.uid in _owners(pod)]
        return sorted(mine, key=lambda pod: pod.metadata.creation_timestamp)

    def condition(self, kind: str) -> Words | None:
        return _condition(self.status.conditions, kind, "True")


def _owners(pod: Pod) -> set[str]:
    return {owner.uid for owner in pod.metadata.owner_references}


def _condition(conditions: list[Condition], kind: str, status: str) -> Words | None:
    found = (each.words for each in conditions if (each.type, each.status) == (kind, status))
    return next(found, None)
