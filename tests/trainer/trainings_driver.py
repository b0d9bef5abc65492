"""The trainer's trainings in processes, with a stand-in script, as a process that can be killed.

`python -m tests.trainer.trainings_driver DATA BASE_MODEL ARGUMENTS`: trains what is pending and
ends. Steps that were told are appended to DATA/steps.
"""

import os
import sys
import threading
from pathlib import Path

from schemas.rows import TrainingStepName
from schemas.settings import TrainerSettings
from tests.trainer.stand_in import stand_in_context
from trainer import training, trainings
from trainer.datasets import DatasetManifest
from trainer.layout import DataDir


class FileOutbox:
    """Stands for Outbox."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def step(
        self, training_id: str, step: TrainingStepName, dataset: DatasetManifest, detail: str | None
    ) -> None:
        with self._path.open("a") as file:
            file.write(f"{training_id} {step} {dataset.name}\n")


def main(root: str, base_model: str, arguments: str) -> None:
    training.training_context = stand_in_context
    training.POLL_SECONDS = 0.05
    data = DataDir(Path(root))
    settings = TrainerSettings(
        data_dir=data.root,
        launcher="process",
        training_python=sys.executable,
        base_model=base_model,
        training_args=arguments,
        gate_command=os.environ.get("PAIRSTREAM_GATE_COMMAND", ""),
    )
    outbox = FileOutbox(data.root / "steps")
    with trainings.Trainings(data, settings, "d1", outbox, once=True) as thread:
        thread.wait(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
