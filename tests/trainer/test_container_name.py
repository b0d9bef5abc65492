"""Names of containers, of trainings whose datasets users may name as they like."""

import re
from dataclasses import replace
from pathlib import Path

from tests.trainer.launcher_places import ProcessPlace
from trainer.docker_launcher import container_name
from trainer.kubernetes_manifest import job_name

# As the Docker Engine says of itself where it refuses a name.
ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

ORDINARY = ["dpo-ds-000001", "dpo-ds-000001-2", "kto-For_kto.v2"]
# A label of RFC 1123, and no longer than a label may be, which a Job's pods bear.
DNS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
OTHERS = ["dpo-my data", "dpo-my:data", "dpo-my-data", "dpo-Größe", "dpo-データ", "dpo-中文字"]


def test_a_container_has_a_name_that_docker_takes_and_no_other_training_has(tmp_path: Path) -> None:
    plan = ProcessPlace(tmp_path).plan()
    names = [container_name(replace(plan, training_id=each)) for each in [*ORDINARY, *OTHERS]]

    assert names[: len(ORDINARY)] == [f"pairstream-d1-{each}" for each in ORDINARY]
    assert all(ALLOWED.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)


def test_a_job_has_a_name_that_kubernetes_takes_and_no_other_training_has(tmp_path: Path) -> None:
    plan = replace(ProcessPlace(tmp_path).plan(), directory_id="0a1b2c3d")
    ids = [
        *ORDINARY,
        *OTHERS,
        "dpo-" + "x" * 100,
        "dpo-" + "x" * 101,
        "dpo--",
        "dpo-a..b",
        "DPO-DS-000001",
    ]
    names = [job_name(replace(plan, training_id=each)) for each in ids]

    assert names[:2] == [f"pairstream-0a1b2c3d-{each}" for each in ORDINARY[:2]]
    assert all(DNS.fullmatch(name) and len(name) <= 63 for name in names)
    assert len(set(names)) == len(names)
