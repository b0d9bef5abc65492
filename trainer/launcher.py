"""What a training needs of the place where it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from trainer.image import BuildContext

ASKED_TO_END, KILLED = 143, 137  # by SIGTERM, by SIGKILL

# How a container ends when its engine or its machine goes down: asked to end, killed, or found
# dead by the next engine. By itself, the script ends with none of them.
ENGINE_ENDED = {ASKED_TO_END, KILLED, 255}


class EngineUnavailable(PairstreamError):
    """The place where trainings run cannot be used now; trying later may help."""


class Previous(msgspec.Struct, frozen=True):
    """The earlier training whose adapter this one starts with: `continue` or `merge`."""

    training_id: str
    how: str


@dataclass(frozen=True)
class Plan:
    """One training, laid out. `folder` is what the script sees as its output.

    `arguments` are the script's, without those that name folders and the device.
    """

    training_id: str
    directory_id: str
    dataset: Path
    base_model: Path
    folder: Path
    arguments: list[str]
    settings: TrainingSettings
    context: BuildContext
    previous: Previous | None = None
    models: Path | None = None

    @property
    def previous_adapter(self) -> Path | None:
        """It lies among the `models`: those beside this training's folder, unless named."""
        if self.previous is None:
            return None
        return (self.models or self.folder.parent) / self.previous.training_id / "adapter"


@dataclass(frozen=True)
class Ended:
    """How the script ended; `why` is for people, where the code alone does not tell.

    `interrupted`: the engine or the machine ended it, for reasons of its own; it can go on where it
    was.
    """

    code: int
    why: str | None = None
    interrupted: bool = False


Progress = Callable[[str], None]


class Launcher(Protocol):
    """Runs the script of one training at most once at a time.

    Guarantee: `start` after a crash of the trainer finds what its predecessor started.
    """

    name: str

    def prepare(self, plan: Plan, progress: Progress) -> str:
        """Make what is missing to run it; returns what identifies it (an image's id).

        Raises: EngineUnavailable.
        """
        ...

    def start(self, plan: Plan) -> None:
        """Start it, unless it was started before."""
        ...

    def poll(self, plan: Plan) -> Ended | None:
        """None while it runs; brings `training.log` up to date."""
        ...

    def stop(self, plan: Plan) -> None:
        """End it: first asked, then killed."""
        ...

    def clean_up(self, plan: Plan) -> None:
        """Remove what it leaves outside its folder."""
        ...


def make_launcher(settings: TrainingSettings, training_venv: Path) -> Launcher:
    """The launcher of the settings. Raises: EngineUnavailable, InvalidSettings."""
    if settings.launcher == "docker":
        from trainer.docker_launcher import DockerLauncher

        return DockerLauncher()
    if settings.launcher == "kubernetes":
        from trainer.kubernetes_launcher import KubernetesLauncher
        from trainer.kubernetes_placement import placement

        return KubernetesLauncher(placement(settings))
    from trainer.process_launcher import ProcessLauncher

    return ProcessLauncher(training_venv)
