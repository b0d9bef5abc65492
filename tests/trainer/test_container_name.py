"""Names of containers, of trainings whose datasets users may name as they like."""

import re
from dataclasses import replace
from pathlib import Path

from tests.trainer.launcher_places import ProcessPlace
from trainer.docker_launcher import container_name

# As the Docker Engine says of itself where it refuses a name.
ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

ORDINARY = ["dpo-ds-000001", "dpo-ds-000001-2", "kto-For_kto.v2"]
OTHERS = ["dpo-my data", "dpo-my:data", "dpo-my-data", "dpo-Größe", "dpo-データ", "dpo-中文字"]


def test_a_container_has_a_name_that_docker_takes_and_no_other_training_has(tmp_path: Path) -> None:
    plan = ProcessPlace(tmp_path).plan()
    names = [container_name(replace(plan, training_id=each)) for each in [*ORDINARY, *OTHERS]]

    assert names[: len(ORDINARY)] == [f"pairstream-d1-{each}" for each in ORDINARY]
    assert all(ALLOWED.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)
