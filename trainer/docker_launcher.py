"""Trains in containers: no network, no root, read-only, limited; GPU when the engine has one."""

import hashlib
import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any

import docker
import requests
import structlog
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig
from docker.types import Mount as BindMount
from urllib3.exceptions import HTTPError

from trainer.followed_log import FollowedLog, lines_of
from trainer.image import IMAGE_LABEL
from trainer.launcher import ENGINE_ENDED, KILLED, Ended, EngineUnavailable, Plan, Progress
from trainer.layout import open_no_link
from trainer.mounts import container_user, mounts, script_arguments

log = structlog.get_logger()

LABEL_DIRECTORY = "pairstream.data-dir-id"
LABEL_TRAINING = "pairstream.training-id"

UNNAMEABLE = re.compile(r"[^a-zA-Z0-9_.-]")

STOP_SECONDS = 60
CONFLICT = 409

# The engine learns of the end and of its reason in either order.
REASON_SECONDS = 3.0
REASON_POLL_SECONDS = 0.1
# From the grant of a name to the container that bears it.
GRANTED_SECONDS = 10.0


def container_name(plan: Plan) -> str:
    """Docker refuses a second container of the same name: this is the lock of one training.

    A user names datasets by any letters, Docker containers by some: the hash keeps names apart.
    """
    training = UNNAMEABLE.sub("-", plan.training_id)
    if training != plan.training_id:
        training += f"-{hashlib.sha256(plan.training_id.encode()).hexdigest()[:8]}"
    return f"pairstream-{plan.directory_id}-{training}"


def container_spec(plan: Plan, *, gpu: bool, user: str) -> dict[str, Any]:
    """Arguments of the SDK's `containers.create`. Pure."""
    settings = plan.settings
    spec: dict[str, Any] = {
        "image": plan.context.tag,
        "name": container_name(plan),
        "labels": {LABEL_DIRECTORY: plan.directory_id, LABEL_TRAINING: plan.training_id},
        "command": script_arguments(plan),
        "user": user,
        "network_mode": "none",
        "read_only": True,
        # Without exec, what Triton compiles could not be loaded from there.
        "tmpfs": {"/tmp": "size=4g,exec"},  # noqa: S108 - inside the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "pids_limit": 1024,
        "shm_size": "1g",
        "log_config": LogConfig(type="json-file", config={"max-size": "50m", "max-file": "2"}),
        # Not as `volumes`: those take no colon in a path, and an engine that does not have the
        # folder would make an empty one.
        "mounts": [
            BindMount(mount.at, str(mount.folder), type="bind", read_only=not mount.writable)
            for mount in mounts(plan)
        ],
    }
    if settings.training_memory:
        spec["mem_limit"] = spec["memswap_limit"] = settings.training_memory
    if settings.training_cpus:
        spec["nano_cpus"] = int(settings.training_cpus * 1e9)
    if gpu:
        spec["device_requests"] = [DeviceRequest(count=1, capabilities=[["gpu"]])]
    return spec


@contextmanager
def _engine_answers() -> Iterator[None]:
    """Raises: EngineUnavailable when the engine is gone or cannot do what it is asked for."""
    try:
        yield
    except APIError as error:
        raise EngineUnavailable(f"the Docker Engine refused: {error.explanation}") from error
    except (DockerException, requests.RequestException, HTTPError) as error:
        raise EngineUnavailable(
            "no Docker Engine answers: start one (is your user in the group docker?), or "
            "train without it by PAIRSTREAM_LAUNCHER=process"
        ) from error


class DockerLauncher:
    """One engine, as the environment names it (`DOCKER_HOST`, or the local socket)."""

    name = "docker"

    def __init__(self) -> None:
        with _engine_answers():
            self._engine = docker.from_env(timeout=60)
            self._engine.ping()
        self._logs: dict[str, FollowedLog] = {}

    # --- Image -----------------------------------------------------------------------------------

    @_engine_answers()
    def prepare(self, plan: Plan, progress: Progress) -> str:
        tag = plan.context.tag
        try:
            image = self._engine.images.get(tag)
            progress(f"image {tag} is there")
        except ImageNotFound:
            self._build(plan, progress)
            image = self._engine.images.get(tag)
        return str(image.id)

    def _build(self, plan: Plan, progress: Progress) -> None:
        context = plan.context
        network = None if self._engine.networks.list(names=["bridge"]) else "host"
        progress(f"building image {context.tag}; the first time takes some minutes")
        chunks = self._engine.api.build(
            fileobj=io.BytesIO(context.tar()),
            custom_context=True,
            tag=context.tag,
            labels={IMAGE_LABEL: context.hash},
            network_mode=network,
            rm=True,
            forcerm=True,
            decode=True,
        )
        with open_no_link(plan.folder / "build.log", "wb") as file:
            for chunk in chunks:
                self._take_build_chunk(chunk, file, progress)

    def _take_build_chunk(self, chunk: dict[str, Any], file: IO[bytes], progress: Progress) -> None:
        if "error" in chunk:
            raise EngineUnavailable(
                f"the image cannot be built: {str(chunk['error']).strip()} (its base "
                "python:3.10-slim and the package index must be within reach; see build.log)"
            )
        text = str(chunk.get("stream") or chunk.get("status") or "")
        file.write((text if text.endswith("\n") else text + "\n").encode())
        if text.startswith(("Step ", "Successfully tagged")):
            progress(text.strip())

    # --- Container -------------------------------------------------------------------------------

    @_engine_answers()
    def start(self, plan: Plan) -> None:
        container = self._find(plan)
        if container is None:
            container = self._create(plan, gpu=self._may_use_gpu(plan))
        if container.status != "created":
            return
        try:
            container.start()
        except APIError as error:
            container.remove(force=True)
            if "device driver" not in str(error.explanation):
                raise
            if plan.settings.training_device == "cuda":
                raise EngineUnavailable(
                    "the engine has no GPU for containers: install the NVIDIA container toolkit, "
                    "or set PAIRSTREAM_TRAINING_DEVICE=cpu"
                ) from error
            self._create(plan, gpu=False).start()

    def _find(self, plan: Plan) -> Container | None:
        try:
            return self._engine.containers.get(container_name(plan))
        except NotFound:
            return None

    def _create(self, plan: Plan, *, gpu: bool) -> Container:
        user, group = container_user(plan.folder)
        spec = container_spec(plan, gpu=gpu, user=f"{user}:{group}")
        try:
            return self._engine.containers.create(**spec)
        except APIError as error:
            if "bind source path does not exist" in str(error.explanation):
                raise EngineUnavailable(
                    f"the Docker Engine's machine lacks a folder ({error.explanation}): data "
                    "directory and base model must lie there at the same paths as here, also "
                    "where the trainer runs in a container"
                ) from error
            if error.status_code != CONFLICT:
                raise
            return self._created_by_another(plan)

    def _created_by_another(self, plan: Plan) -> Container:
        """That of a faster trainer: the engine grants the name a moment before it knows it."""
        deadline = time.monotonic() + GRANTED_SECONDS
        while (found := self._find(plan)) is None:
            if time.monotonic() > deadline:
                raise EngineUnavailable(f"{container_name(plan)} is granted, and not to be found")
            time.sleep(0.05)
        return found

    def _may_use_gpu(self, plan: Plan) -> bool:
        if plan.settings.training_device == "cpu":
            return False
        info = self._engine.info()
        has_gpu = "nvidia" in info.get("Runtimes", {}) or bool(info.get("DiscoveredDevices"))
        return has_gpu or plan.settings.training_device == "cuda"

    @_engine_answers()
    def poll(self, plan: Plan) -> Ended | None:
        container = self._find(plan)
        if container is None:
            return Ended(KILLED, "the container was removed by somebody else")
        self._copy_log(plan, container)
        state = container.attrs["State"]
        if state["Status"] not in ("exited", "dead"):
            return None
        code = int(state["ExitCode"])
        if _ran_out_of_memory(container):
            return Ended(code or KILLED, "the container ran out of memory: raise training-memory")
        if code in ENGINE_ENDED:
            return Ended(code, f"its engine or somebody ended it ({code})", interrupted=True)
        return Ended(code)

    def _copy_log(self, plan: Plan, container: Container) -> None:
        def lines_since(since: datetime | None) -> list[str]:
            return lines_of(container.logs(timestamps=True, since=since))

        self._logs.setdefault(plan.training_id, FollowedLog(plan.folder)).copy(lines_since)

    @_engine_answers()
    def stop(self, plan: Plan) -> None:
        container = self._find(plan)
        if container is not None:
            container.stop(timeout=STOP_SECONDS)

    @_engine_answers()
    def clean_up(self, plan: Plan) -> None:
        container = self._find(plan)
        if container is not None:
            container.remove(force=True)
        self._remove_images(plan.settings.keep_images, used=plan.context.tag)

    def _remove_images(self, keep: int, *, used: str) -> None:
        """Keep the one just used, whatever its age, and then the newest."""
        images = self._engine.images.list(filters={"label": IMAGE_LABEL})
        images.sort(
            key=lambda image: (used in image.tags, str(image.attrs["Created"])), reverse=True
        )
        for image in images[keep:]:
            try:
                self._engine.images.remove(str(image.id), force=False)
                log.info("image_removed", image=", ".join(image.tags))
            except APIError as error:
                # Another training's container still uses it: its own end removes it.
                log.info("image_kept", image=image.tags, why=error.explanation)


def _ran_out_of_memory(container: Container) -> bool:
    """Of one that has ended; waits a little for the engine to say so."""
    deadline = time.monotonic() + REASON_SECONDS
    while not container.attrs["State"].get("OOMKilled"):
        if int(container.attrs["State"]["ExitCode"]) != KILLED or time.monotonic() > deadline:
            return False
        time.sleep(REASON_POLL_SECONDS)
        container.reload()
    return True
