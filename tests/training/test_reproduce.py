"""A training with the real script, run again: the same to the last bit, or not the same at all."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.tiny_model import make_tiny_model
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer.layout import DataDir

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

RECIPE = ("--training-max-steps", "2", "--training-learning-rate", "0.01", "--training-device",
          "cpu", "--training-gradient-accumulation", "2", "--training-seed", "3",
          "--training-args", "--beta 0.2 --precision float32")  # fmt: skip


def test_a_training_is_reproduced_to_the_bit_and_another_base_is_found_out(
    tiny_model: Path, tmp_path: Path
) -> None:
    data = DataDir(tmp_path / "data")
    publish(data.root, make_pairs(8), eval_fraction=0.3)

    def invoke(*words: str) -> Any:
        flags = ("--data-dir", str(data.root), "--launcher", "process",
                 "--training-python", sys.executable)  # fmt: skip
        env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        return CliRunner().invoke(cli, [*words, *flags], env=env)

    trained = invoke("train", str(data.datasets / "ds-000001"), "--base-model", str(tiny_model),
                     *RECIPE)  # fmt: skip
    assert trained.exit_code == 0, trained.output

    again = invoke("reproduce", "dpo-ds-000001", "--json")
    found = json.loads(again.stdout)
    assert again.exit_code == 0, again.output
    assert (found["reproduced"], found["steps"], found["figures"]) == (True, [2, 2], [])
    assert found["adapter"] == {"tensors": 28, "differing": [], "largest": 0.0}
    assert found["ran_otherwise"] == {}

    make_tiny_model(tmp_path / "other" / "tiny", seed=1)
    other = invoke("reproduce", "dpo-ds-000001", "--json", "--base-model",
                   str(tmp_path / "other" / "tiny"))  # fmt: skip
    found = json.loads(other.stdout)
    assert other.exit_code == 1
    assert not found["reproduced"]
    assert found["figures"][0]["step"] == 1
    assert len(found["adapter"]["differing"]) == 28
    assert found["ran_otherwise"]["base_model"] == [str(tiny_model), str(tmp_path / "other/tiny")]
