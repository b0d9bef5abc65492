"""Plays the Kubernetes API for Jobs and pods over HTTP, and misbehaves where it is asked to.

It is no cluster: it says what the API's documentation says that one says, and runs containers as
processes. Where a real one differs, no test here can tell.
"""

import json
import re
import signal
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests.trainer.played_node import PlayedContainer

NAMESPACE = "pairstream"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

Body = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong with the next requests that fit `request`, a pattern for method and path.

    `done`: it is done all the same, only the answer is lost or late.
    """

    request: str
    status: int | None = None
    answer: str = ""
    seconds: float = 0.0
    done: bool = False
    times: int = 1


@dataclass
class PlayedCluster:
    """The API of one namespace; `claims` are the folders that stand for volumes.

    `runs_pods`: whether a pod's container starts; else it waits for what a test makes of it.
    """

    claims: dict[str, Path]
    runs_pods: bool = True
    jobs: dict[str, Body] = field(default_factory=dict)
    pods: dict[str, Body] = field(default_factory=dict)
    containers: dict[str, PlayedContainer] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        cluster = self
        self._lock = threading.RLock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                cluster._serve(self)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        for container in self.containers.values():
            container.signal(signal.SIGKILL)
        self._server.shutdown()
        self._server.server_close()

    def write_kubeconfig(self, path: Path) -> None:
        address = f"http://127.0.0.1:{self._server.server_port}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "played", "cluster": {"server": address}}],
            "users": [{"name": "trainer", "user": {"token": "a-token"}}],
            "contexts": [{"name": "it", "context": {"cluster": "played", "user": "trainer"}}],
            "current-context": "it",
        }
        path.write_text(yaml.safe_dump(content))

    def job_names(self) -> list[str]:
        with self._lock:
            self._look()
            return sorted(self.jobs)

    # --- What goes on ----------------------------------------------------------------------------

    def _look(self) -> None:
        """Bring pods and Jobs up to date, as their controllers do in time."""
        for name, pod in list(self.pods.items()):
            container = self.containers.get(name)
            code = container.exit_code() if container else None
            if code is not None and pod["status"]["phase"] == "Running":
                end_pod(pod, code)
            elif is_leaving(pod) and (container is None or code is not None):
                del self.pods[name]
        for name, job in list(self.jobs.items()):
            own = [pod for pod in self.pods.values() if is_owned(pod, job)]
            if job["metadata"].get("deletionTimestamp") and not own:
                del self.jobs[name]
            elif own and own[-1]["status"]["phase"] in ("Succeeded", "Failed"):
                succeeded = own[-1]["status"]["phase"] == "Succeeded"
                end_job(job, "Complete" if succeeded else "Failed", "BackoffLimitExceeded")

    def _create(self, job: Body) -> tuple[int, Body]:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return refusal(409, f'jobs.batch "{name}" already exists')
        job["metadata"] |= born(name)
        job["status"] = {}
        self.jobs[name] = job
        pod = {**job["spec"]["template"], "status": {"phase": "Pending"}}
        pod["metadata"] = {
            **pod["metadata"],
            **born(f"{name}-{uuid.uuid4().hex[:5]}"),
            "ownerReferences": [{"uid": job["metadata"]["uid"]}],
        }
        self.pods[pod["metadata"]["name"]] = pod
        if self.runs_pods:
            self.containers[pod["metadata"]["name"]] = PlayedContainer(pod, self.claims)
            pod["status"]["phase"] = "Running"
        return 201, job

    def _delete(self, name: str, options: Body) -> tuple[int, Body]:
        job = self.jobs.get(name)
        if job is None:
            return refusal(404, f'jobs.batch "{name}" not found')
        if options.get("preconditions", {}).get("uid") not in (None, job["metadata"]["uid"]):
            return refusal(409, "the UID in the precondition does not match")
        assert options["propagationPolicy"] == "Foreground", "the pods would be left"
        for named, thing in [(name, job), *self.pods.items()]:
            if thing is job or is_owned(thing, job):
                thing["metadata"]["deletionTimestamp"] = now()
                if named in self.containers:
                    self.containers[named].signal(signal.SIGTERM)
        return 200, job

    # --- HTTP ------------------------------------------------------------------------------------

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        asked = f"{request.command} {urlsplit(request.path).path}"
        with self._lock:
            self.requests.append(asked)
            fault = self._fault(asked)
            if fault is None or fault.done:
                self._look()
                status, answer = self._answer(request.command, request.path, body)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.status is None and not fault.answer:
                request.close_connection = True
                return
            if not fault.done:
                status, answer = fault.status or 200, fault.answer
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _fault(self, asked: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.fullmatch(fault.request, asked):
                fault.times -= 1
                return fault
        return None

    def _answer(self, method: str, target: str, body: bytes) -> tuple[int, Body | str]:
        parts = urlsplit(target)
        asked = dict(parse_qsl(parts.query))
        name = parts.path.rpartition("/")[2]
        if method == "POST" and parts.path == JOBS:
            return self._create(json.loads(body))
        if method == "DELETE" and parts.path == f"{JOBS}/{name}":
            return self._delete(name, json.loads(body))
        if parts.path == PODS:
            wanted = [pair.split("=") for pair in asked["labelSelector"].split(",")]
            return 200, {"items": [pod for pod in self.pods.values() if has_labels(pod, wanted)]}
        if parts.path == f"{JOBS}/{name}" and name in self.jobs:
            return 200, self.jobs[name]
        if parts.path.startswith(f"{PODS}/") and name == "log":
            return self._log(parts.path.split("/")[-2], asked)
        return refusal(404, f'"{name}" not found')

    def _log(self, pod: str, asked: dict[str, str]) -> tuple[int, Body | str]:
        if pod not in self.containers:
            return refusal(400, "the container is waiting to start")
        assert (asked["timestamps"], asked["container"]) == ("true", "training")
        since = asked.get("sinceSeconds")
        return 200, self.containers[pod].log(float(since) if since else None)


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def born(name: str) -> Body:
    return {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": now()}


def is_leaving(pod: Body) -> bool:
    metadata = pod["metadata"]
    return "deletionTimestamp" in metadata and not metadata.get("finalizers")


def is_owned(pod: Body, job: Body) -> bool:
    owners = pod["metadata"].get("ownerReferences", [])
    return job["metadata"]["uid"] in {owner["uid"] for owner in owners}


def has_labels(pod: Body, wanted: list[list[str]]) -> bool:
    return all(pod["metadata"]["labels"].get(key) == value for key, value in wanted)


def end_pod(pod: Body, code: int) -> None:
    state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
    pod["status"] = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{"name": "training", "state": state}],
    }


def end_job(job: Body, kind: str, reason: str) -> None:
    job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason}]}


def refusal(status: int, message: str) -> tuple[int, Body]:
    return status, {"kind": "Status", "status": "Failure", "message": message, "code": status}
