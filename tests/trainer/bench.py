"""One training in a process, with a stand-in for the script."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import TrainingSettings
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish
from trainer.cancelling import TrainingInterrupted
from trainer.process_launcher import ProcessLauncher
from trainer.training import TrainingRequest, run_training
from trainer.training_manifest import TrainingManifest

Submit = Callable[..., "Future[TrainingManifest]"]


class Bench:
    """One training of one dataset in a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_base_model(root / "base")
        data = publish(root, make_pairs(3))
        self.request = TrainingRequest(
            "dpo-ds-000001", "d1", data.datasets / "ds-000001", data.models
        )
        self.folder = self.request.folder
        self.stop = threading.Event()
        self.steps: list[tuple[str, str | None]] = []

    def run(self, arguments: str = "", **settings: Any) -> TrainingManifest:
        return run_training(
            self.request,
            self.settings(arguments, **settings),
            ProcessLauncher(self.root / "venv"),
            on_step=lambda step, detail: self.steps.append((step, detail)),
            stop=self.stop,
        )

    def leave(self, running: "Future[TrainingManifest]") -> None:
        """Stop its trainer, as a service is stopped: the script goes on, for a successor."""
        self.stop.set()
        with pytest.raises(TrainingInterrupted):
            running.result(30)
        self.stop = threading.Event()

    def settings(self, arguments: str = "", **settings: Any) -> TrainingSettings:
        given = {
            "data_dir": self.root,
            "launcher": "process",
            "training_python": sys.executable,
            "base_model": str(self.root / "base"),
            "training_args": f"--starts {self.root / 'starts'} {arguments}",
        }
        return TrainingSettings(**given | settings)

    def notes(self) -> list[str]:
        """What the script wrote down: `started`, its number and environment, or `ended`."""
        path = self.root / "starts"
        return path.read_text().splitlines() if path.exists() else []

    def counts(self) -> list[str]:
        return [note.split()[0] for note in self.notes()]


def is_running(number: int) -> bool:
    """A process that has ended may still wait for its parent to ask how."""
    status = Path(f"/proc/{number}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
