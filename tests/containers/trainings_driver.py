"""The trainer's trainings in containers, with a stand-in script, as a process that can be killed.

`python -m tests.containers.trainings_driver DATA DIRECTORY_ID ARGUMENTS`: trains what is pending
and ends. Steps that were told are appended to DATA/steps.
"""

import sys
import threading
from pathlib import Path

from schemas.settings import TrainerSettings
from tests.containers.small_image import small_context
from tests.trainer.trainings_driver import FileOutbox
from trainer import training, trainings
from trainer.layout import DataDir


def main(root: str, directory_id: str, arguments: str) -> None:
    training.training_context = small_context
    training.POLL_SECONDS = 0.05
    data = DataDir(Path(root))
    settings = TrainerSettings(
        data_dir=data.root, base_model=str(data.root / "base"), training_args=arguments
    )
    outbox = FileOutbox(data.root / "steps")
    with trainings.Trainings(data, settings, directory_id, outbox, once=True) as thread:
        thread.wait(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
