"""A data directory with datasets, and what a training with the stand-in script needs."""

from pathlib import Path
from typing import Any

from schemas.dead_letters import Origin
from schemas.rows import Pair, encode
from schemas.settings import TrainerSettings
from schemas.source import Source
from trainer.image import REQUIREMENTS, SCRIPT, BuildContext
from trainer.intake import Intake
from trainer.layout import DataDir

SOURCE = Source("cluster", "pairs", "topic-id", 1)

STAND_IN = Path(__file__).with_name("stand_in_script.py")


def stand_in_context() -> BuildContext:
    return BuildContext(
        {
            "Dockerfile": b"FROM scratch\n",
            REQUIREMENTS: b"torch==0\n",
            SCRIPT: STAND_IN.read_bytes(),
        }
    )


def make_base_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def publish(root: Path, pairs: list[Pair], *, first: int = 0, **given: Any) -> DataDir:
    """Cut the pairs as the next dataset of a data directory whose topic they follow in."""
    data = DataDir(root)
    settings = TrainerSettings(data_dir=root, launcher="none", **given)
    intake = Intake(data, settings, SOURCE, {0: 0})
    records = [
        (Origin("pairs", 0, first + n), None, [], encode(pair)) for n, pair in enumerate(pairs)
    ]
    intake.take(records, _refuse_none)
    intake.close_segments()
    intake.cut()
    intake.close()
    return data


def _refuse_none(*refused: object) -> None:
    raise AssertionError(refused)
