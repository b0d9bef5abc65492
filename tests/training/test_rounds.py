"""Trainings that begin with an earlier adapter: as it is, or merged into the base."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeDataset, Train, Trained, pair
from tests.training.test_model import log_probabilities
from trainer.train_dpo import command
from trainer.train_dpo.merge import merge
from trainer.train_dpo.model import load_model
from trainer.train_dpo.refusals import BAD_DATA

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

Steps = Callable[[int], None]


@pytest.fixture
def first_round(make_dataset: MakeDataset, train: Train) -> Trained:
    trained = train(make_dataset(), "--max-steps", 2, "--lora-rank", 4, output="first")
    assert trained.code == 0
    return trained


def test_training_goes_on_from_an_adapter_that_is_its_reference(
    make_dataset: MakeDataset, train: Train, first_round: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    dataset = make_dataset(None, [pair(9)], name="ds-000002")
    flags = ("--init-adapter", first_round.output / "adapter", "--max-steps", 3)
    second = train(dataset, *flags)
    assert second.code == 0
    assert second.result["first_margin"] == pytest.approx(0, abs=1e-6)
    assert {path.name for path in (second.output / "adapter").iterdir()} == {
        path.name for path in (first_round.output / "adapter").iterdir()
    }
    gate = second.result["gate"]
    assert gate["moved"]["share"] == 1
    assert gate["candidate"]["margin"] > gate["base"]["margin"]

    # It starts at the adapter to the last bit, and is held against it, not against the base.
    still = train(dataset, *flags, "--learning-rate", 1e-30, output="still")
    weights = [
        load_file(trained.output / "adapter" / "adapter_model.safetensors")
        for trained in (first_round, still)
    ]
    assert all((weights[0][name] - weights[1][name]).abs().max() < 1e-20 for name in weights[0])
    assert still.result["gate"]["candidate"] == still.result["gate"]["base"]
    assert still.result["gate"]["base"] == gate["base"]

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(command, "save_adapter", die)
        with pytest.raises(Killed):
            train(dataset, *flags, output="resumed")
    assert train(dataset, *flags, output="resumed").weights == second.weights


def test_merged_round_gives_one_adapter_for_the_plain_base(
    make_dataset: MakeDataset,
    train: Train,
    first_round: Trained,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from peft import PeftModel

    kept = []
    save = command.save_adapter

    def save_and_keep(trainer: Any, folder: Path, base_name: str) -> None:
        kept.append(log_probabilities(trainer.model))
        save(trainer, folder, base_name)

    monkeypatch.setattr(command, "save_adapter", save_and_keep)
    second = train(
        make_dataset(name="ds-000002"), "--merge-first", first_round.output / "adapter",
        "--quantization", "none", "--lora-rank", 2,
    )  # fmt: skip
    assert second.code == 0
    assert second.result["first_margin"] == pytest.approx(0, abs=1e-6)
    config = json.loads((second.output / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (6, 6)
    assert config["base_model_name_or_path"] == "tiny"

    base = load_model(tiny_model, "cpu", "none")
    before = log_probabilities(base)
    loaded = log_probabilities(PeftModel.from_pretrained(base, second.output / "adapter"))
    torch.testing.assert_close(loaded, kept[0], rtol=0, atol=1e-4)
    assert (loaded - before).abs().max() > 0.1, "nothing was trained"


@pytest.mark.parametrize("flag", ["--init-adapter", "--merge-first"])
@pytest.mark.parametrize("broken", ["no weights", "a pickle", "other layers"])
def test_adapter_that_does_not_fit_is_refused(
    make_dataset: MakeDataset, train: Train, tmp_path: Path, flag: str, broken: str
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    if broken == "a pickle":
        (folder / "adapter_model.bin").write_bytes(b"")
    if broken == "other layers":
        (folder / "adapter_model.safetensors").write_bytes(b"")
        config = {"peft_type": "LORA", "r": 4, "target_modules": ["elsewhere"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    trained = train(make_dataset(), flag, folder)
    assert trained.code == BAD_DATA
    assert f"train_dpo: {folder} is no adapter" in trained.stderr


@pytest.mark.parametrize("flag", ["--init-adapter", "--merge-first"])
@pytest.mark.parametrize("odd", ["tensors are missing", "tensors are too many", "fewer layers"])
def test_adapter_of_other_layers_is_refused_before_the_training(
    make_dataset: MakeDataset,
    train: Train,
    first_round: Trained,
    flag: str,
    odd: str,
) -> None:
    """PEFT itself would fill up what is missing by chance, and drop what is too much."""
    from safetensors.torch import load_file, save_file

    folder = first_round.output / "adapter"
    weights = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    if odd != "tensors are missing":
        config["target_modules"] = ["q_proj", "v_proj"]
    if odd != "tensors are too many":
        kept = ("q_proj", "v_proj")
        weights = {name: each for name, each in weights.items() if name.split(".")[-3] in kept}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, folder / "adapter_model.safetensors")

    second = train(make_dataset(name="ds-000002"), flag, folder, "--max-steps", 1)

    if odd == "fewer layers" and flag == "--init-adapter":  # it goes on with those
        assert second.code == 0
        assert second.result["adapted_layers"] == ["q_proj", "v_proj"]
        return
    assert second.code == BAD_DATA
    assert f"{folder} is no adapter of this base: it adapts other layers (" in second.stderr
    missing = odd != "tensors are too many"
    assert ("20 tensors are missing, 0 are" if missing else "0 tensors are missing, 20 are") in (
        second.stderr
    )
    assert not (second.output / "metrics.jsonl").exists()


def test_a_base_is_merged_whatever_it_says_of_generation(
    make_dataset: MakeDataset,
    train: Train,
    first_round: Trained,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    """Many have a temperature and do not sample, which transformers refuses to save."""
    base = tmp_path / "odd" / "tiny"
    shutil.copytree(tiny_model, base)
    odd = b'{"do_sample": false, "temperature": 0.6, "top_p": 0.9}'
    (base / "generation_config.json").write_bytes(odd)
    flags = ("--merge-first", first_round.output / "adapter", "--max-steps", 1)
    trained = train(make_dataset(name="ds-000002"), *flags, base_model=base, output="second")
    assert trained.code == 0, trained.stderr
    merged = trained.output / "checkpoints" / "merged"
    assert (merged / "generation_config.json").read_bytes() == odd

    (base / "generation_config.json").unlink()
    merge(base, trained.output / "adapter", tmp_path / "whole")
    assert not (tmp_path / "whole" / "generation_config.json").exists()


def test_nothing_is_merged_into_a_quantised_base(
    make_dataset: MakeDataset,
    train: Train,
    first_round: Trained,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    base = tmp_path / "quantised" / "tiny"
    shutil.copytree(tiny_model, base)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    flags = ("--merge-first", first_round.output / "adapter")
    refused = train(make_dataset(name="ds-000002"), *flags, base_model=base)
    assert refused.code == BAD_DATA
    assert f"{base} is quantised: name the folder of the model that" in refused.stderr
