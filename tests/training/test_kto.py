"""Training by KTO: on single responses that are labelled good or bad."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Message
from schemas.rows import ScoredRow, ScoredRowKind, assistant_message, row_id, user_message
from schemas.settings import TrainingSettings
from tests.training.conftest import MakeDataset, Train, message, response
from trainer.gate import judge
from trainer.selection import CutSettings
from trainer.train_dpo import command, recorder
from trainer.train_dpo.data import read_row
from trainer.train_dpo.kto import label_weights
from trainer.train_dpo.recorder import check_log
from trainer.train_dpo.refusals import BAD_DATA, CHECK_FAILED, STOPPED, Refused
from trainer.unpaired import labelled_line, write_labelled

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

KTO = ("--method", "kto", "--gradient-accumulation", 2)  # four responses a step, two at once


def labelled(number: int, **changes: object) -> dict[str, object]:
    """Every other one is a good one."""
    good = number % 2 == 0
    row: dict[str, object] = {
        "row_id": f"{number:032x}",
        "kind": "code_success" if good else "strategy_without_effect",
        "prompt": [message(f"Print {number}.")],
        "completion": response(f"print({number})" if good else f") {number} tnirp"),
        "label": good,
        "score": 2.5 if good else 0.0,
    }
    return {**row, **changes}


def rows(*numbers: int) -> list[dict[str, object]]:
    return [labelled(number) for number in numbers]


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> Path:
    return make_dataset(rows(*range(12)), rows(20, 21, 22, 23))


# --- Learning ------------------------------------------------------------------------------------


def test_training_starts_at_the_base_and_tells_good_from_bad(dataset: Path, train: Train) -> None:
    trained = train(dataset, *KTO, "--epochs", 2, "--report-to", "none")
    assert trained.code == 0, trained.stderr
    first, last = trained.steps[0], trained.steps[-1]
    # Both weights are 1, and each response's loss is 1 - sigmoid(0).
    assert first["loss"] == pytest.approx(0.5, abs=1e-3)
    for name in ("rewards/chosen", "rewards/rejected", "kl"):
        assert first[name] == pytest.approx(0, abs=1e-3)
    assert last["loss"] < first["loss"]
    assert last["rewards/chosen"] > last["rewards/rejected"]
    assert [log["step"] for log in trained.steps] == [*range(1, 7)]

    result = trained.result
    assert (result["pairs"], result["held_out"], result["identical"]) == (12, 4, 0)
    assert result["labels"] == {"good": 6, "bad": 6, "good_weight": 1.0, "bad_weight": 1.0}
    assert result["arguments"]["loss_types"] == "kto"
    assert result["evaluation"]["eval_loss"] < 0.5
    gate = result["gate"]
    assert (gate["pairs"], gate["unpaired"], gate["moved"]["share"]) == (2, True, 1)
    assert gate["candidate"]["margin"] > gate["base"]["margin"]
    assert gate["base"]["chosen_logps"] == pytest.approx(-math.log(320), rel=0.05)
    verdict = judge(result, TrainingSettings(gate_min_pairs=2))
    assert {check.name for check in verdict.checks} >= {"margin", "likelihood", "length"}
    assert "accuracy" not in {check.name for check in verdict.checks}
    assert all(check.passed for check in verdict.checks if check.name in ("finite", "margin"))


def test_adapters_learn_in_full_precision_on_four_bit_weights(
    dataset: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    kinds = []
    save = command.save_adapter

    def save_and_look(trainer: Any, folder: Path, base_name: str) -> None:
        kinds.extend(p.dtype for p in trainer.model.parameters() if p.requires_grad)
        save(trainer, folder, base_name)

    monkeypatch.setattr(command, "save_adapter", save_and_look)
    trained = train(dataset, *KTO, "--learning-rate", "1e-6", "--max-steps", 2)
    assert trained.result["parameters"]["quantized"] > 0
    assert set(kinds) == {torch.float32}
    assert trained.result["gate"]["moved"]["share"] == 1


def test_figures_of_the_gate_agree_with_trls_own(dataset: Path, train: Train) -> None:
    trained = train(dataset, *KTO, "--beta", 0.5)
    gate, evaluated = trained.result["gate"], trained.result["evaluation"]
    gain = gate["candidate"]["margin"] - gate["base"]["margin"]
    rewards = [evaluated[f"eval_rewards/{side}"] for side in ("chosen", "rejected")]
    assert 0.5 * gain == pytest.approx(rewards[0] - rewards[1], rel=1e-3)


@pytest.mark.parametrize("held_out", [(), (20, 22)])
def test_without_both_kinds_held_out_the_gate_compares_nothing(
    make_dataset: MakeDataset, train: Train, held_out: tuple[int, ...]
) -> None:
    trained = train(make_dataset(rows(*range(4)), rows(*held_out)), *KTO)
    assert trained.code == 0, trained.stderr
    assert trained.result["gate"]["pairs"] == 0
    assert "base" not in trained.result["gate"]
    verdict = judge(trained.result, TrainingSettings())
    assert verdict.passed
    assert verdict.note is not None
    assert verdict.note.startswith("too few held-out ")


@pytest.mark.parametrize(
    ("good", "bad", "weights"), [(6, 6, (1, 1)), (2, 6, (3, 1)), (6, 4, (1, 1.5))]
)
def test_the_rarer_kind_weighs_as_much_as_the_other(
    good: int, bad: int, weights: tuple[float, float]
) -> None:
    assert label_weights(good, bad) == weights
    total = good * weights[0] / (bad * weights[1])
    assert 1 <= total <= 4 / 3  # the range of the paper


def test_unequal_kinds_are_weighed_and_a_step_of_one_kind_is_no_error(
    make_dataset: MakeDataset, train: Train
) -> None:
    trained = train(make_dataset(rows(0, 2, 4, 6, 8, 10, 1, 3)), *KTO)
    assert trained.code == 0, trained.stderr
    assert trained.result["labels"] == {"good": 6, "bad": 2, "good_weight": 1.0, "bad_weight": 3.0}
    assert "rewards/margins" not in trained.steps[0]
    assert trained.result["first_margin"] is None


@pytest.mark.parametrize("numbers", [(0, 2, 4), (1, 3)])
def test_one_kind_alone_is_refused(
    make_dataset: MakeDataset, train: Train, numbers: tuple[int, ...]
) -> None:
    trained = train(make_dataset(rows(*numbers)), *KTO)
    assert trained.code == BAD_DATA
    kind = "good" if 0 in numbers else "bad"
    assert f"all {len(numbers)} responses are {kind} ones: KTO learns from both" in trained.stderr


# --- The same as of pairs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [("--precompute-reference", "on"), ("--reference", "model")], ids=str
)
def test_references_give_the_same_training(
    dataset: Path, train: Train, flags: tuple[str, ...]
) -> None:
    off = ("--precompute-reference", "off")
    usual = train(dataset, *KTO, *off, output="usual")
    other = train(dataset, *KTO, *flags, output="other")
    assert other.losses == pytest.approx(usual.losses, abs=1e-5)
    assert other.result["precomputed_reference"] is ("on" in flags)
    assert other.steps[0]["kl"] == pytest.approx(0, abs=1e-3)


# What the settings say by themselves, where batches hold several pairs and epochs are several.
USUAL = ("--precision", "auto", "--batch-size", 2, "--gradient-accumulation", 1, "--epochs", 2,
         "--max-steps", 3)  # fmt: skip


@pytest.mark.parametrize(
    "more", [(), USUAL, ("--init-adapter",)], ids=["plain", "usual", "continued"]
)
def test_stopped_training_goes_on_bit_for_bit(
    dataset: Path, train: Train, monkeypatch: pytest.MonkeyPatch, more: tuple[object, ...]
) -> None:
    if "--init-adapter" in more:
        first = train(dataset, *KTO, "--max-steps", 2, output="first-round")
        more = (*more, first.output / "adapter")
    flags = (*KTO, *more)
    straight = train(dataset, *flags, output="straight")

    def check_and_stop(log: dict[str, float], *, pure: bool) -> None:
        check_log(log, pure=pure)
        if log["step"] == 1 and "loss" in log:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "check_log", check_and_stop)
        assert train(dataset, *flags, output="resumed").code == STOPPED
    resumed = train(dataset, *flags, output="resumed")
    assert len(straight.losses) == 3
    assert resumed.losses == straight.losses
    assert resumed.weights == straight.weights
    assert resumed.result["gate"] == straight.result["gate"]


@pytest.mark.parametrize("flag", ["--init-adapter", "--merge-first"])
def test_training_goes_on_from_an_earlier_adapter(dataset: Path, train: Train, flag: str) -> None:
    first = train(dataset, *KTO, "--max-steps", 2, output="first")
    second = train(dataset, *KTO, flag, first.output / "adapter", "--max-steps", 2)
    assert second.code == 0, second.stderr
    assert second.steps[0]["rewards/chosen"] == pytest.approx(0, abs=1e-3)
    assert second.result["gate"]["moved"]["share"] == 1


@pytest.mark.parametrize("key", ["rewards/chosen", "rewards/rejected", "kl"])
def test_reference_that_differs_fails_the_check(key: str) -> None:
    log = {"step": 1, "loss": 0.5, "kl": 0.0, "rewards/chosen": 0.009, "rewards/rejected": -0.009}
    check_log(log, pure=False)
    check_log({**log, "step": 2, key: 3.0}, pure=False)
    with pytest.raises(Refused, match="policy and reference differ") as refused:
        check_log({**log, key: -0.011}, pure=False)
    assert refused.value.code == CHECK_FAILED


# --- Rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"label": 1}, "label is neither true nor false"),
        ({"label": None}, "label is neither true nor false"),
        ({"completion": "print(0)"}, "completion holds no messages"),
        ({"completion": [{"role": "assistant"}]}, "KeyError: 'content'"),
    ],
)
def test_odd_row_is_refused_with_its_file_and_line(
    make_dataset: MakeDataset, train: Train, changes: dict[str, object], why: str
) -> None:
    dataset = make_dataset([labelled(1), labelled(0, **changes)])
    trained = train(dataset, *KTO)
    assert trained.code == BAD_DATA
    assert f"{dataset / 'train.jsonl'}, line 2 is no response with a label" in trained.stderr
    assert why in trained.stderr


def test_each_method_refuses_the_others_rows(
    make_dataset: MakeDataset, train: Train, dataset: Path
) -> None:
    paired = train(make_dataset(name="pairs"), *KTO, output="pairs")
    assert (paired.code, "KeyError: 'completion'" in paired.stderr) == (BAD_DATA, True)
    unpaired = train(dataset, output="unpaired")
    assert (unpaired.code, "KeyError: 'chosen'" in unpaired.stderr) == (BAD_DATA, True)


def test_too_long_responses_are_counted_and_control_tokens_stay_text(
    make_dataset: MakeDataset, train: Train
) -> None:
    long = [labelled(2, prompt=[message("a" * 500)]), labelled(3, completion=response("b" * 500))]
    marked = labelled(5, completion=response("<|im_end|>"))
    assert read_row(json.dumps(marked).encode(), "kto")["label"] is False
    trained = train(make_dataset([*rows(0, 1), *long, marked]), *KTO, "--max-length", 200)
    assert trained.code == 0, trained.stderr
    assert [trained.result[name] for name in ("pairs", "dropped", "truncated")] == [4, 1, 1]
    assert trained.result["labels"]["bad"] == 3


def scored(number: int) -> ScoredRow:
    kind: ScoredRowKind = "strategy_success" if number % 3 else "strategy_without_effect"
    run = f"run-{number}"
    prompt: list[Message] = user_message("Propose a strategy.")
    return ScoredRow(
        row_id=row_id(run, "s-1", kind, None), run_id=run, strategy_id="s-1", kind=kind,
        attempt=None, prompt=prompt, response=assistant_message(f"Empty the cache {number}."),
        score=float(number) if number % 3 else 0.0, agent_id=None, task_id=None, policy_id=None,
    )  # fmt: skip


def test_rows_train_with_trl_as_they_are(tmp_path: Path, tiny_model: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import KTOConfig, KTOTrainer

    lines = sorted(labelled_line(scored(number)) for number in range(6))
    write_labelled(tmp_path, lines, CutSettings(eval_fraction=0))
    loaded = load_dataset(
        "json", data_files=str(tmp_path / "train.jsonl"), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert loaded.to_list() == [json.loads(line) for line in lines]
    assert loaded.features["label"].dtype == "bool"
    trainer = KTOTrainer(
        model=str(tiny_model),
        args=KTOConfig(
            output_dir=str(tmp_path / "output"), use_cpu=True, bf16=False, max_steps=2,
            per_device_train_batch_size=2, logging_steps=1, report_to="none",
        ),
        train_dataset=loaded,
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )  # fmt: skip
    trainer.train()
    assert len(trainer.train_dataset) == 6
    assert sum(trainer.train_dataset["label"]) == 4
