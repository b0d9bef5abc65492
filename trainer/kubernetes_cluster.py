"""The few requests to a Kubernetes API that a training takes, through the official client."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from urllib3.exceptions import HTTPError

from schemas.errors import PairstreamError
from schemas.printable import printable
from trainer.followed_log import lines_of
from trainer.kubernetes_manifest import CONTAINER, LABEL_APP, LABEL_TRAINING, Manifest
from trainer.kubernetes_objects import Job, Pod, Pods
from trainer.launcher import EngineUnavailable

# To connect, and for the next piece of an answer.
TIMEOUT_SECONDS = (5.0, 30.0)

NOT_FOUND, CONFLICT = 404, 409
HINTS = {
    401: "its credentials are not valid: renew them",
    403: "give its service account the Role of deploy/kubernetes/trainings.yaml, and see to the "
    "namespace's quota",
}
WORDS_CHARACTERS = 500

T = TypeVar("T", bound=msgspec.Struct)


class _Refused(Exception):
    """The API answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Cluster:
    """One namespace of the cluster that `KUBECONFIG` names, or that we run in.

    Every method raises EngineUnavailable where the API does not answer, or not as it should.
    """

    def __init__(self, namespace: str) -> None:
        """Raises: EngineUnavailable where no cluster is named, PairstreamError without a client."""
        client, connection = _connect()
        self._namespace = namespace
        self._jobs, self._core = client.BatchV1Api(connection), client.CoreV1Api(connection)
        self._error = client.ApiException

    def job(self, name: str) -> Job | None:
        with self._answering():
            try:
                return _decoded(Job, self._ask(self._jobs.read_namespaced_job, name))
            except _Refused as refused:
                if refused.status == NOT_FOUND:
                    return None
                raise

    def create(self, manifest: Manifest) -> bool:
        """False where there is one of that name."""
        with self._answering():
            try:
                self._ask(self._jobs.create_namespaced_job, body=manifest)
            except _Refused as refused:
                if refused.status == CONFLICT:
                    return False
                raise
            return True

    def delete(self, job: Job) -> None:
        """Have this Job removed, and no later one of its name; it goes after its pods."""
        with self._answering():
            try:
                self._ask(
                    self._jobs.delete_namespaced_job,
                    job.metadata.name,
                    body={
                        "propagationPolicy": "Foreground",
                        "preconditions": {"uid": job.metadata.uid},
                    },
                )
            except _Refused as refused:
                if refused.status not in (NOT_FOUND, CONFLICT):
                    raise

    def pods(self, job: Job) -> list[Pod]:
        """Its own, oldest first."""
        labels = job.metadata.labels
        selector = ",".join(f"{key}={labels.get(key, '')}" for key in (LABEL_APP, LABEL_TRAINING))
        with self._answering():
            answer = self._ask(self._core.list_namespaced_pod, label_selector=selector)
            return job.own(_decoded(Pods, answer).items or [])

    def log(self, pod: Pod, since_seconds: int | None) -> list[str]:
        """Its lines with timestamps, those of the last seconds or all."""
        since = {} if since_seconds is None else {"since_seconds": since_seconds}
        with self._answering():
            return lines_of(
                self._ask(
                    self._core.read_namespaced_pod_log,
                    pod.metadata.name,
                    container=CONTAINER,
                    timestamps=True,
                    **since,
                )
            )

    def _ask(self, request: Callable[..., Any], *name: str, **given: Any) -> bytes:
        """The answer as it came: the client's own types change with its versions."""
        try:
            answer = request(
                *name,
                namespace=self._namespace,
                _preload_content=False,
                _request_timeout=TIMEOUT_SECONDS,
                **given,
            )
        except self._error as error:
            raise _Refused(error.status or 0, _words(error.body) or str(error.reason)) from error
        content: bytes = answer.data
        return content

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except _Refused as refused:
            hint = HINTS.get(refused.status)
            raise EngineUnavailable(
                f"the Kubernetes API refused ({refused}){f': {hint}' if hint else ''}"
            ) from refused
        except (HTTPError, msgspec.MsgspecError) as error:
            raise EngineUnavailable(
                f"no Kubernetes API answers as one ({type(error).__name__}): see that kubectl "
                f"reaches the namespace {self._namespace} from here"
            ) from error


def _decoded(kind: type[T], answer: bytes) -> T:
    return msgspec.json.decode(answer, type=kind)


def _words(body: str | None) -> str:
    """The message of the API's `Status`, or what came in its place, on one line."""
    try:
        told = str(msgspec.json.decode(body or "", type=dict[str, Any])["message"])
    except (msgspec.MsgspecError, KeyError):
        told = body or ""
    return printable(told[:WORDS_CHARACTERS])


def _connect() -> tuple[Any, Any]:
    """The client's module, and its connection. Raises: EngineUnavailable, PairstreamError."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise PairstreamError(
            "the launcher kubernetes needs its client: pip install 'pairstream[kubernetes]'"
        ) from error
    settings = client.Configuration()
    file = os.environ.get("KUBECONFIG")
    try:
        if file is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(file, client_configuration=settings)
    except config.ConfigException as error:
        raise EngineUnavailable(
            f"no Kubernetes cluster is named ({error}): set KUBECONFIG, or run the trainer in the "
            "cluster with its service account"
        ) from error
    settings.retries = False  # who asked tries again, and tells
    return client, client.ApiClient(settings)
