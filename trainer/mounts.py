"""What a training's container sees of the plan: its folders, the script's flags, its user."""

import os
from dataclasses import dataclass
from pathlib import Path

from trainer.launcher import Plan
from trainer.rounds import round_flags

DATASET, BASE_MODEL, OUTPUT, PREVIOUS = "/dataset", "/base-model", "/output", "/previous"

ROOTLESS_USER = 1000


@dataclass(frozen=True)
class Mount:
    """A folder of ours, and where the container has it."""

    folder: Path
    at: str
    writable: bool = False

    @property
    def name(self) -> str:
        return self.at.removeprefix("/")


def mounts(plan: Plan) -> list[Mount]:
    """All that it sees of ours; it writes to its own folder alone."""
    found = [
        Mount(plan.dataset, DATASET),
        Mount(plan.base_model, BASE_MODEL),
        Mount(plan.folder, OUTPUT, writable=True),
    ]
    if plan.previous_adapter is not None:
        found.append(Mount(plan.previous_adapter, PREVIOUS))
    return found


def script_arguments(plan: Plan) -> list[str]:
    return [
        "--dataset", DATASET, "--base-model", BASE_MODEL, "--output", OUTPUT,
        "--device", plan.settings.training_device,
        *round_flags(plan.previous, PREVIOUS), *plan.arguments,
    ]  # fmt: skip


def container_user(folder: Path) -> tuple[int, int]:
    """User and group for the container: ours, or, where we are root, another one, who gets the
    folder that it writes to.
    """
    user, group = os.getuid(), os.getgid()
    if user == 0:
        user = group = ROOTLESS_USER
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, group, follow_symlinks=False)
    return user, group
