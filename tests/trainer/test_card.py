"""The model card tells the whole history."""

from datetime import UTC, datetime

import msgspec
import pytest
import yaml

from schemas.settings import TrainingSettings
from schemas.source import Source
from trainer.card import model_card
from trainer.datasets import DatasetManifest, FileEntry, OffsetRange
from trainer.gate import judge
from trainer.launcher import Previous
from trainer.training_manifest import TrainingManifest
from trainer.verdict import Check, Verdict

DATASET = DatasetManifest(
    name="ds-000002", parent="ds-000001", created_at=datetime(2026, 1, 1, tzinfo=UTC), pairs=10,
    runs=7, rules={"mixed_code": 6, "first_time_code": 4}, offsets={"0": OffsetRange(5, 15)},
    files={"train.jsonl": FileEntry("a" * 64, 1, 9), "eval.jsonl": FileEntry("b" * 64, 1, 1)},
    settings={"eval_fraction": 0.1}, source=Source("cluster", "pairs.v1", "topic-id", 1),
)  # fmt: skip

MEASURED = {"accuracy": 0.5, "margin": -1.25, "chosen_logps": -2.5, "generations": {
    "prompts": 8, "mean_tokens": 12.0, "repetition": 0.1, "special_tokens": 0.0, "empty": 0.0,
}}  # fmt: skip

MOVED = {"share": 1.0, "largest_change": 0.1}

FIGURES: dict[str, object] = {
    "base_model": 'org/Model "1B"', "pairs": 9, "held_out": 1, "device": "cpu",
    "arguments": {"beta": 0.3, "init_adapter": None}, "versions": {"trl": "1.14.2"},
    "gate": {
        "pairs": 1, "moved": MOVED, "base": MEASURED, "candidate": {**MEASURED, "accuracy": 1.0},
    },
}  # fmt: skip


def manifest(**changes: object) -> TrainingManifest:
    usual: dict[str, object] = {
        "training_id": "dpo-ds-000002", "dataset": "ds-000002",
        "dataset_sha256": {"train.jsonl": "a" * 64}, "base_model": "base", "launcher": "docker",
        "image": "sha256:1234", "image_tag": "pairstream-training:12", "arguments": [],
        "started_at": datetime(2026, 1, 2, tzinfo=UTC),
        "finished_at": datetime(2026, 1, 3, tzinfo=UTC), "exit_code": 0, "why": None,
        "figures": FIGURES, "files": {"plots/training.svg": "c" * 64},
    }  # fmt: skip
    return TrainingManifest(**{**usual, **changes})  # type: ignore[arg-type]


def test_card_names_data_recipe_figures_and_what_it_was_made_with() -> None:
    verdict = Verdict(passed=False, checks=[Check(name="margin", passed=False)])
    card = model_card(manifest(previous=Previous("dpo-ds-000001", "merge"), gate=verdict), DATASET)

    for line in (
        "| dataset | `ds-000002` |",
        "| its parent | `ds-000001` |",
        f"| SHA-256 of train.jsonl | `{'a' * 64}` |",
        "| pairs by rule | `first_time_code: 4, mixed_code: 6` |",
        "| offsets | `0: 5 to 15` |",
        "| held_out | `1` |",
        "On 1 pairs that were held out.",
        "| preference accuracy | `0.5` | `1` |",
        "| log-probability per token of the chosen side | `-2.5` | `-2.5` |",
        "(plots/training.svg)",
        "| beta | `0.3` |",
        "| init_adapter | `none` |",
        "| previous round | `dpo-ds-000001 (merge)` |",
        "| gate | `refused: margin` |",
        "| image | `sha256:1234` |",
        "| trl | `1.14.2` |",
        'from_pretrained("org/Model \\"1B\\"")',
    ):
        assert line in card
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == 'org/Model "1B"'
    assert front["library_name"] == "peft"


def test_card_of_single_responses_says_so() -> None:
    kinds = {"code_success": 6, "strategy_without_effect": 4}
    dataset = msgspec.structs.replace(DATASET, kind="kto", rules=kinds)
    gate = {**FIGURES["gate"], "unpaired": True}  # type: ignore[dict-item]
    labels = {"good": 6, "bad": 4, "good_weight": 1.0, "bad_weight": 1.5}
    card = model_card(manifest(figures={**FIGURES, "gate": gate, "labels": labels}), dataset)

    for words in (
        "trained by KTO on good and bad responses",
        "| responses by kind | `code_success: 6, strategy_without_effect: 4` |",
        "| bad_weight | `1.5` |",
        "On 1 responses of either kind at least that were held out.",
        "| margin of summed log-probabilities |",
    ):
        assert words in card
    assert "preference accuracy" not in card
    assert yaml.safe_load(card.split("---\n")[1])["tags"] == ["kto", "lora", "pairstream"]


@pytest.mark.parametrize(
    ("refusals", "words"),
    [
        ([], "With vLLM: `--enable-lora --max-lora-rank 16`"),
        (["it is a DoRA"], "vLLM does not load it: it is a DoRA. Merge it first."),
    ],
)
def test_card_says_how_vllm_loads_the_adapter(refusals: list[str], words: str) -> None:
    serving = {"rank": 12, "vllm_max_lora_rank": 16, "vllm_refuses": refusals}

    assert words in model_card(manifest(figures={**FIGURES, "serving": serving}), DATASET)
    assert "vLLM" not in model_card(manifest(), DATASET)


def test_card_shows_no_picture_and_no_figures_that_are_not_there() -> None:
    bare = {**FIGURES, "gate": {"pairs": 0, "moved": MOVED}}
    card = model_card(manifest(files={}, figures=bare), DATASET)

    assert "plots/" not in card
    assert "No pairs were held out: nothing was measured." in card
    assert "| previous round | `none` |" in card


@pytest.mark.parametrize(
    "candidate", [None, {}, {"accuracy": None, "margin": 1.0, "generations": None}]
)
def test_card_of_a_model_with_figures_that_are_no_numbers_says_none(candidate: object) -> None:
    gate = {**FIGURES["gate"], "candidate": candidate}  # type: ignore[dict-item]
    card = model_card(manifest(figures={**FIGURES, "gate": gate}), DATASET)

    assert "| preference accuracy | `0.5` | `none` |" in card
    assert "| share of empty responses | `0` | `none` |" in card


GATE = {"pairs": 1, "moved": MOVED, "base": MEASURED, "candidate": MEASURED}


@pytest.mark.parametrize(
    "gate",
    [
        "good", ["good"], 7, {}, {**GATE, "pairs": "many"}, {**GATE, "moved": {}},
        {**GATE, "base": {**MEASURED, "margin": "good"}},
        {**GATE, "base": [MEASURED]},
        {**GATE, "candidate": {**MEASURED, "generations": {"prompts": 1, "empty": "none"}}},
        {**GATE, "candidate": {**MEASURED, "generations": [1]}},
    ],
)  # fmt: skip
def test_figures_that_the_gate_cannot_read_are_none(gate: object) -> None:
    figures = {**FIGURES, "gate": gate}
    [check] = judge(figures, TrainingSettings()).checks
    card = model_card(manifest(figures=figures), DATASET)

    assert check.name == "readable"
    assert "so it counts as if nothing was measured" in card
    assert "| figure |" not in card


@pytest.mark.parametrize("odd", ["text", ["a", 1], 7, None, {"vllm_refuses": 3}, {"rank": []}])
def test_what_a_training_tells_in_another_form_is_left_out_or_shown_as_it_is(odd: object) -> None:
    names = ("arguments", "versions", "labels", "serving", "base_model", "pairs", "device")
    card = model_card(manifest(figures=dict.fromkeys(names, odd)), DATASET)

    assert "vLLM" not in card
    assert "## Use" in card


def test_names_cannot_leave_their_cell() -> None:
    rules = {"a`b|c\n# d": 1}
    odd = DatasetManifest(**{**{k: getattr(DATASET, k) for k in DATASET.__struct_fields__},
                             "rules": rules})  # fmt: skip

    assert "| pairs by rule | `a'b/c # d: 1` |" in model_card(manifest(), odd)
