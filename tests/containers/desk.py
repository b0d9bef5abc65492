"""The trainer's trainings in containers, with a stand-in for the script and its image."""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.models.containers import Container

from schemas.crash_points import VARIABLE
from schemas.settings import TrainerSettings
from tests.containers.relay import Relay
from tests.trainer.driven import assert_lawful
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish
from tests.trainer.trainings_driver import FileOutbox
from trainer.docker_launcher import LABEL_DIRECTORY
from trainer.layout import DataDir
from trainer.trainings import Trainings

REPOSITORY = Path(__file__).parents[2]

FIRST, SECOND = "dpo-ds-000001", "dpo-ds-000002"


def make_data(root: Path) -> DataDir:
    """A published dataset and a base model."""
    make_base_model(root / "base")
    return publish(root, make_pairs(3))


@dataclass
class Desk:
    """One data directory, an engine behind a relay, and what its containers are found by."""

    data: DataDir
    engine: DockerClient
    relay: Relay
    directory_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def trainings(self, arguments: str = "", *, once: bool = False, **settings: Any) -> Trainings:
        given = {
            "data_dir": self.data.root,
            "base_model": str(self.data.root / "base"),
            "training_args": f"--starts /output/starts {arguments}",
        }
        wanted = TrainerSettings(**given | settings)
        return Trainings(self.data, wanted, self.directory_id, self.outbox, once=once)

    @property
    def outbox(self) -> FileOutbox:
        return FileOutbox(self.data.root / "steps")

    def told(self) -> list[str]:
        """Training and step."""
        lines = (self.data.root / "steps").read_text().splitlines()
        return [line.rpartition(" ")[0] for line in lines]

    def publish_another(self) -> None:
        """The dataset of the training SECOND."""
        publish(self.data.root, make_pairs(3, mark="s"), first=4)

    def folder(self, training: str) -> Path:
        return self.data.models / training

    def notes(self, training: str = FIRST) -> list[str]:
        """What the script wrote down: `started` or `ended`."""
        path = self.folder(training) / "starts"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def manifest(self, training: str = FIRST) -> dict[str, Any]:
        return json.loads((self.folder(training) / "manifest.json").read_bytes())

    def is_done(self, training: str = FIRST) -> bool:
        folder = self.folder(training)
        return (folder / "manifest.json").exists() and not (folder / ".started.json").exists()

    def containers(self) -> list[Container]:
        filters = {"label": f"{LABEL_DIRECTORY}={self.directory_id}"}
        return self.engine.containers.list(all=True, filters=filters)

    def assert_trained(self, training: str) -> None:
        """Its archive is what its checksum says, its files are what its manifest says."""
        manifest = self.manifest(training)
        assert manifest["exit_code"] == 0
        assert manifest["why"] is None
        for path, digest in manifest["files"].items():
            assert sha256(self.folder(training) / path) == digest
        archive = self.data.models / f"{training}.tar.gz"
        told, name = archive.with_name(archive.name + ".sha256").read_text().split()
        assert (told, name) == (sha256(archive), archive.name)

    def assert_trained_once(self) -> None:
        """The first training is done, by one run of its script, and nothing is left of it."""
        assert self.notes() == ["started", "ended"]
        assert self.manifest()["interruptions"] == 0
        self.assert_trained(FIRST)
        assert_lawful(self.data.root)
        assert list(dict.fromkeys(self.told())) == [
            f"{FIRST} {step}" for step in whole_life(progress=True)
        ]
        assert self.containers() == []
        assert not list(self.data.models.glob(".*"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start_trainer(desk: Desk, *arguments: str, crash_at: str = "") -> subprocess.Popen[str]:
    """A trainer that trains what is pending and ends, or is killed."""
    script = ["--starts", "/output/starts", *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.containers.trainings_driver",
         desk.data.root, desk.directory_id, " ".join(script)],
        env={**os.environ, VARIABLE: crash_at},
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
