"""One training from beginning to end: its figures, its files, its checks, its settings."""

import json
import math
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairstream.tiny_model import make_tiny_model
from tests.training.conftest import PAIRS, MakeDataset, Train, pair
from trainer.train_dpo.command import prepare_process
from trainer.train_dpo.model import load_model, load_tokenizer, pick_device
from trainer.train_dpo.recorder import check_log, is_saturated
from trainer.train_dpo.refusals import CHECK_FAILED, GPU_MEMORY, NO_GPU, NOT_A_NUMBER, Refused
from trainer.train_dpo.training import training_config

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]


# --- Figures -------------------------------------------------------------------------------------


def test_training_starts_at_the_base_and_learns(make_dataset: MakeDataset, train: Train) -> None:
    trained = train(make_dataset(None, [pair(8), pair(9)]), "--epochs", 2)
    assert trained.code == 0
    first, last = trained.steps[0], trained.steps[-1]
    assert first["loss"] == pytest.approx(math.log(2), rel=0.01)
    assert first["rewards/margins"] == pytest.approx(0, abs=0.01)
    assert last["loss"] < first["loss"] / 2
    assert [log["step"] for log in trained.steps] == [*range(1, 9)]
    result = trained.result
    assert (result["first_loss"], result["first_margin"]) == (
        first["loss"],
        first["rewards/margins"],
    )
    assert result["last"] == {key: value for key, value in last.items() if key != "steps"}
    assert (result["pairs"], result["held_out"], result["device"]) == (PAIRS, 2, "cpu")
    assert set(result["dataset_sha256"]) == {"train.jsonl", "eval.jsonl"}
    assert result["arguments"]["epochs"] == 2


def test_held_out_share_is_evaluated(make_dataset: MakeDataset, train: Train) -> None:
    trained = train(make_dataset(None, [pair(8), pair(9)]))
    logged = [log for log in trained.metrics if "eval_loss" in log]
    evaluation = trained.result["evaluation"]
    assert [log["eval_loss"] for log in logged] == [evaluation["eval_loss"]]
    assert evaluation["eval_loss"] < math.log(2)
    assert evaluation["eval_rewards/accuracies"] == 1
    without = train(make_dataset(name="nothing-held-out"), output="nothing-held-out")
    assert without.result["evaluation"] is None


def test_same_dataset_and_seed_give_the_same_losses(
    make_dataset: MakeDataset, train: Train
) -> None:
    dataset = make_dataset()
    one, same, other = (
        train(dataset, "--seed", seed, output=name)
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one.losses == same.losses
    assert one.weights == same.weights
    assert one.losses[1:] != other.losses[1:]
    files = ("adapter_config.json", "tokenizer_config.json", "tokenizer.json")
    for name in files:
        assert (one.output / "adapter" / name).read_bytes() == (
            same.output / "adapter" / name
        ).read_bytes()


def test_loaded_reference_gives_the_losses_of_the_disabled_adapter(
    make_dataset: MakeDataset, train: Train
) -> None:
    dataset = make_dataset(None, [pair(8)])
    adapter = train(dataset, "--reference", "adapter", output="adapter")
    model = train(dataset, "--reference", "model", output="model")
    assert adapter.losses == model.losses
    assert adapter.weights == model.weights
    assert adapter.result["evaluation"]["eval_loss"] == model.result["evaluation"]["eval_loss"]


def test_likelihood_of_the_chosen_side_adds_to_the_loss(
    make_dataset: MakeDataset, train: Train
) -> None:
    trained = train(make_dataset(), "--sft-weight", 0.5)
    assert trained.code == 0
    # Random weights know nothing: ln of the vocabulary for each token.
    expected = math.log(2) + 0.5 * math.log(320)
    assert trained.losses[0] == pytest.approx(expected, rel=0.02)
    assert trained.losses[-1] < trained.losses[0]


def step(margin: float, accuracy: float = 1.0) -> dict[str, float]:
    return {"rewards/margins": margin, "rewards/accuracies": accuracy}


@pytest.mark.parametrize(
    ("steps", "saturated"),
    [
        ([step(6.0)] * 5, True),
        ([step(0.0)] * 3 + [step(5.1)] * 5, True),
        ([step(6.0)] * 4, False),
        ([step(6.0)] * 4 + [step(5.0)], False),
        ([step(6.0)] * 4 + [step(6.0, 0.99)], False),
        ([step(6.0)] * 5 + [step(4.0)], False),
    ],
)
def test_training_is_saturated_when_the_last_steps_teach_nothing(
    steps: list[dict[str, float]], saturated: bool
) -> None:
    assert is_saturated(steps) is saturated


# --- Files ---------------------------------------------------------------------------------------

ADAPTER = {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
           "tokenizer.json", "tokenizer_config.json"}  # fmt: skip


def test_output_is_what_it_should_be_and_no_pickle(
    make_dataset: MakeDataset, train: Train, tiny_model: Path
) -> None:
    output = train(make_dataset(None, [pair(8)])).output
    assert {path.name for path in output.iterdir()} - {"plots"} == {
        "adapter", "checkpoints", "metrics.jsonl", "result.json"
    }  # fmt: skip
    assert {path.name for path in (output / "adapter").iterdir()} == ADAPTER
    pickles = [
        path.relative_to(output)
        for path in output.rglob("*")
        if path.suffix in {".bin", ".pkl", ".pickle", ".pt", ".pth"}
    ]
    assert {path.parts[0] for path in pickles} == {"checkpoints"}
    assert {path.name for path in pickles} == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    for path in (output / "adapter", *(output / "adapter").iterdir(), output / "result.json"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
    text = "".join(path.read_text() for path in (output / "adapter").glob("*.j*"))
    assert str(tiny_model) not in text
    assert str(output) not in text


@pytest.mark.parametrize(
    ("flags", "name"), [((), "tiny"), (("--base-model-name", "org/Model-1B"), "org/Model-1B")]
)
def test_adapter_names_its_base_and_not_a_path(
    make_dataset: MakeDataset, train: Train, flags: tuple[str, ...], name: str
) -> None:
    trained = train(make_dataset(), "--max-steps", 1, *flags)
    config = json.loads((trained.output / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == name
    assert trained.result["base_model"] == name
    assert config["target_modules"] == sorted(config["target_modules"])


def test_tokenizer_of_the_adapter_is_the_bases(
    make_dataset: MakeDataset, train: Train, tiny_model: Path
) -> None:
    from transformers import AutoTokenizer

    trained = train(make_dataset(), "--max-steps", 1)
    ours = AutoTokenizer.from_pretrained(trained.output / "adapter")
    base = load_tokenizer(tiny_model)
    text = "def f():\n    return  '<|im_end|>\u00e9'\t\n\n"
    assert ours(text)["input_ids"] == base(text)["input_ids"]
    assert ours.chat_template == base.chat_template
    written = json.loads((trained.output / "adapter" / "tokenizer_config.json").read_text())
    assert not written.keys() & {"is_local", "local_files_only"}


# --- Checks --------------------------------------------------------------------------------------


def first(loss: float, margin: float) -> dict[str, float]:
    return {"step": 1, "loss": loss, "rewards/margins": margin, "grad_norm": 1.0}


@pytest.mark.parametrize(
    ("log", "pure", "code"),
    [
        (first(math.log(2), 0.0), True, None),
        (first(math.log(2) * 1.009, 0.009), True, None),
        (first(math.log(2) * 1.011, 0.0), True, CHECK_FAILED),
        (first(math.log(2) * 0.989, 0.0), True, CHECK_FAILED),
        (first(math.log(2), -0.011), True, CHECK_FAILED),
        (first(3.0, 0.0), False, None),
        (first(3.0, 0.011), False, CHECK_FAILED),
        ({**first(0.1, 5.0), "step": 2}, True, None),
        ({**first(math.nan, 0.0), "step": 2}, True, NOT_A_NUMBER),
        (first(math.inf, 0.0), True, NOT_A_NUMBER),
        ({**first(0.1, 5.0), "step": 2, "grad_norm": math.nan}, True, NOT_A_NUMBER),
        ({"step": 1, "eval_loss": math.nan}, True, NOT_A_NUMBER),
        ({"step": 1, "eval_loss": 0.1}, True, None),
    ],
)
def test_log_is_checked(log: dict[str, float], pure: bool, code: int | None) -> None:
    if code is None:
        check_log(log, pure=pure)
        return
    with pytest.raises(Refused) as refused:
        check_log(log, pure=pure)
    assert refused.value.code == code


def test_reference_that_differs_fails_the_check_at_the_first_step(
    make_dataset: MakeDataset, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_model
    make_tiny_model(tmp_path / "other", seed=1)
    folders: list[Path] = []

    def load_another_reference(folder: Path, *how: str) -> Any:
        folders.append(folder)
        return load(tmp_path / "other" if len(folders) == 2 else folder, *how)

    monkeypatch.setattr("trainer.train_dpo.training.load_model", load_another_reference)
    trained = train(make_dataset(), "--reference", "model")
    assert len(folders) == 2
    assert trained.code == CHECK_FAILED
    assert "policy and reference differ before training" in trained.stderr
    assert [log["step"] for log in trained.metrics] == [1]
    assert not (trained.output / "adapter").exists()


# Adam's first steps are as long as the rate: this one leaves no weight finite.
BOUNDLESS = ("--learning-rate", "1e30")


def test_loss_that_is_not_a_number_ends_the_training(
    make_dataset: MakeDataset,
    train: Train,
    make_trainer: Callable[..., Any],
) -> None:
    trained = train(make_dataset(), *BOUNDLESS)
    assert trained.code == NOT_A_NUMBER
    assert "loss is not a number: lower --learning-rate" in trained.stderr
    assert trained.losses[1:] == [None]
    assert not (trained.output / "adapter").exists()

    rows = list(map(pair, range(PAIRS)))
    uncured = make_trainer(rows, *BOUNDLESS, logging_nan_inf_filter=True)
    uncured.train()
    losses = [log["loss"] for log in uncured.state.log_history if "loss" in log]
    assert len(losses) == 4
    assert all(map(math.isfinite, losses)), "a filter makes the loss look well"


def test_memory_that_runs_out_on_the_gpu_has_its_code(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainer.train_dpo.command.make_trainer", run_out)
    trained = train(make_dataset())
    assert trained.code == GPU_MEMORY
    assert "lower --max-length" in trained.stderr


# --- Settings ------------------------------------------------------------------------------------


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_gpu_that_is_not_there_is_refused(make_dataset: MakeDataset, train: Train) -> None:
    trained = train(make_dataset(), "--device", "cuda")
    assert trained.code == NO_GPU
    assert "no GPU is visible" in trained.stderr
    assert "--device cpu" in trained.stderr


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_the_cpu_is_named(arguments: Callable[..., Namespace]) -> None:
    from trl import DPOConfig

    assert pick_device("auto") == "cpu"
    config = training_config(arguments(), "cpu", 100)
    assert (config.use_cpu, config.bf16, config.gradient_checkpointing) == (True, False, False)
    with pytest.raises(ValueError, match="bf16"):
        DPOConfig(output_dir=config.output_dir)


@pytest.mark.parametrize(
    ("capabilities", "bfloat16"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_cpu_computes_in_bfloat16_where_it_can(
    arguments: Callable[..., Namespace],
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    bfloat16: bool,
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert training_config(arguments("--precision", "auto"), "cpu", 100).bf16 is bfloat16
    assert not training_config(arguments("--precision", "float32"), "cpu", 100).bf16


def test_loss_is_dpos_own_or_with_the_chosen_sides_likelihood(
    arguments: Callable[..., Namespace],
) -> None:
    pure = training_config(arguments(), "cpu", 100)
    mixed = training_config(arguments("--sft-weight", 0.2), "cpu", 100)
    assert (pure.loss_type, pure.loss_weights, pure.label_smoothing) == (["sigmoid"], [1.0], 0)
    assert (mixed.loss_type, mixed.loss_weights) == (["sigmoid", "sft"], [1.0, 0.2])


def losses_of(trainer: Any) -> list[float]:
    trainer.train()
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def test_smoothing_does_nothing_and_robust_has_no_bound(make_trainer: Callable[..., Any]) -> None:
    """Why neither can be chosen."""
    rows = list(map(pair, range(PAIRS)))
    plain = losses_of(make_trainer(rows))
    assert losses_of(make_trainer(rows, label_smoothing=0.3)) == plain
    robust = losses_of(make_trainer(rows, "--epochs", 3, loss_type=["robust"], label_smoothing=0.3))
    assert min(robust) < -1


def test_trl_itself_cannot_group_pairs_by_length(
    arguments: Callable[..., Namespace], make_trainer: Callable[..., Any]
) -> None:
    one, several = (training_config(arguments("--batch-size", n), "cpu", 100) for n in (1, 2))
    assert (one.train_sampling_strategy, several.train_sampling_strategy) == (
        "random",
        "sequential",
    )
    uncured = make_trainer([pair(0)], train_sampling_strategy="group_by_length")
    with pytest.raises(ValueError, match="length"):
        uncured.train()


@pytest.mark.parametrize(
    ("before", "after"), [(None, "0"), ("2,3", "2"), ("GPU-1a", "GPU-1a"), ("", "")]
)
def test_one_gpu_is_used(monkeypatch: pytest.MonkeyPatch, before: str | None, after: str) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    prepare_process()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after
