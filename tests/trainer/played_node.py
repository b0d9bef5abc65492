"""Runs a pod's container as a process here, with the folders that its claims stand for."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.trainer.stand_in import STAND_IN


class PlayedContainer:
    """The stand-in for the script, with the arguments of the pod's one container."""

    def __init__(self, pod: dict[str, Any], claims: dict[str, Path]) -> None:
        [container] = pod["spec"]["containers"]
        folders = _folders(pod["spec"]["volumes"], container["volumeMounts"], claims)
        arguments = [_outside(argument, folders) for argument in container["args"]]
        self._lines: list[tuple[datetime, str]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(STAND_IN), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append((datetime.now(UTC), line.rstrip("\n")))

    def exit_code(self) -> int | None:
        """As container engines tell it; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._reader.join()
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def log(self, since_seconds: float | None) -> str:
        now = datetime.now(UTC)
        return "".join(
            f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z {text}\n"
            for moment, text in self._lines
            if since_seconds is None or (now - moment).total_seconds() <= since_seconds
        )


def _folders(
    volumes: list[dict[str, Any]], mounts: list[dict[str, Any]], claims: dict[str, Path]
) -> dict[str, Path]:
    """Where the container's folders lie; one that is not there is an error, as for a kubelet."""
    claimed = {
        volume["name"]: claims[volume["persistentVolumeClaim"]["claimName"]]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }
    folders = {
        mount["mountPath"]: claimed[mount["name"]] / mount.get("subPath", "")
        for mount in mounts
        if mount["name"] in claimed
    }
    for folder in folders.values():
        assert folder.is_dir(), folder
    return folders


def _outside(argument: str, folders: dict[str, Path]) -> str:
    for inside, folder in folders.items():
        if argument == inside or argument.startswith(inside + "/"):
            return str(folder) + argument.removeprefix(inside)
    return argument
