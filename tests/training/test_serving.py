"""Adapters where they are served: what vLLM takes, and whole models that are merged from them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from pairstream.merging import merge_model
from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from tests.commands.deployment import NOW
from tests.training.conftest import MakeDataset, Train, Trained
from tests.training.test_model import log_probabilities
from trainer.archive import archive, files_in
from trainer.datasets import file_sha256
from trainer.layout import DataDir
from trainer.train_dpo.model import load_model
from trainer.train_dpo.refusals import BAD_DATA
from trainer.train_dpo.rounds import adapter_to_come
from trainer.train_dpo.serving import vllm_max_rank, vllm_refusals
from trainer.training_manifest import MADE, TrainingManifest, write_training

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

ID = "dpo-ds-000001"


# --- vLLM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "most"), [(1, 8), (8, 8), (9, 16), (24, 32), (257, 320), (512, 512), (513, None)]
)
def test_the_least_rank_that_vllm_can_be_told_takes_the_adapter(
    rank: int, most: int | None
) -> None:
    assert vllm_max_rank(rank) == most


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"r": 16, "bias": "none", "use_dora": False, "modules_to_save": None}, []),
        ({"r": 16}, []),
        ({"r": 600}, ["its rank is 600"]),
        ({"r": 16, "use_dora": True}, ["DoRA"]),
        ({"r": 16, "modules_to_save": ["lm_head"]}, ["modules_to_save"]),
        ({"r": 600, "bias": "all"}, ["its rank is 600", "biases"]),
    ],
)
def test_what_vllm_refuses_is_known(config: dict[str, Any], words: list[str]) -> None:
    reasons = vllm_refusals(config)
    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_an_adapter_that_vllm_would_refuse_is_told_before_the_training_and_in_its_result(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text, *_: told.append(str(text)))
    trained = train(make_dataset(), "--lora-rank", 600, "--max-steps", 1)
    assert trained.code == 0
    assert told[0] == (
        "warning: vLLM will not load this adapter: its rank is 600, and 512 is the most"
    )
    assert trained.result["serving"] == {
        "rank": 600,
        "vllm_max_lora_rank": None,
        "vllm_refuses": ["its rank is 600, and 512 is the most"],
    }


def foreign_adapter(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_what_is_known_of_an_adapter_before_it_is_trained(tmp_path: Path) -> None:
    previous = foreign_adapter(tmp_path / "previous", r=4, bias="all")
    assert adapter_to_come(16, None, None) == {"r": 16}
    assert adapter_to_come(16, None, previous) == {"r": 20}
    assert adapter_to_come(16, previous, None) == {"r": 4, "bias": "all"}


@pytest.mark.parametrize(
    ("config", "words"),
    [({"r": 4, "use_dora": True}, "in another way (use_dora)"), ({"r": "4"}, "no number")],
)
def test_an_adapter_that_could_not_be_joined_is_refused_before_the_training(
    make_dataset: MakeDataset, train: Train, tmp_path: Path, config: dict[str, object], words: str
) -> None:
    trained = train(make_dataset(), "--merge-first", foreign_adapter(tmp_path / "odd", **config))
    assert trained.code == BAD_DATA
    assert words in trained.stderr
    assert not (trained.output / "metrics.jsonl").exists()


# --- Whole models --------------------------------------------------------------------------------


def published(data: DataDir, trained: Trained) -> TrainingManifest:
    """As the trainer leaves a training that succeeded."""
    folder = data.models / ID
    shutil.copytree(trained.output, folder)
    manifest = TrainingManifest(
        training_id=ID, dataset="ds-000001", dataset_sha256={},
        base_model=trained.result["arguments"]["base_model"], launcher="docker", image="none",
        image_tag="none", arguments=[], started_at=NOW, finished_at=NOW, exit_code=0, why=None,
        figures=trained.result,
        files={str(p.relative_to(folder)): file_sha256(p) for p in files_in(folder, MADE)},
    )  # fmt: skip
    write_training(folder, manifest)
    archive(folder, (*MADE, "manifest.json"), data.models / f"{ID}.tar.gz")
    return manifest


def in_bfloat16(base: Path, folder: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(base, folder)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


# Of the whole effect of the training, as a share of its norm. In float32 only the order of sums
# differs: 2e-6 was measured. A base in bfloat16 rounds each merged weight to 8 bits of mantissa:
# 0.004 was measured, of a large effect; of a smaller one a larger share is lost.
SAME_BUT_FOR_SUMS, ROUNDED = 1e-4, 0.02


@pytest.mark.parametrize(("kind", "share"), [("float32", SAME_BUT_FOR_SUMS), ("bfloat16", ROUNDED)])
def test_merged_model_is_the_adapter_on_its_base(
    make_dataset: MakeDataset,
    train: Train,
    tiny_model: Path,
    tmp_path: Path,
    kind: str,
    share: float,
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_model if kind == "float32" else in_bfloat16(tiny_model, tmp_path / "half")
    trained = train(make_dataset(), base_model=base)
    data = DataDir(tmp_path / "data")
    manifest = published(data, trained)
    out = tmp_path / "whole"

    merged = merge_model(data, manifest, TrainingSettings(), out)

    def said_by(model: Any) -> Any:
        return log_probabilities(model.float())

    plain = load_model(base, "cpu", "none")
    before = said_by(plain)
    adapted = said_by(PeftModel.from_pretrained(plain, data.models / ID / "adapter"))
    whole = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    assert str(whole.dtype) == f"torch.{kind}"
    effect = adapted - before
    assert effect.norm() > 1, "nothing was trained"
    assert (said_by(whole) - adapted).norm() < share * effect.norm()

    assert {path.name for path in out.iterdir()} == {
        "chat_template.jinja", "config.json", "generation_config.json", "manifest.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    assert out.stat().st_mode & 0o777 == 0o755
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    with safe_open(out / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "lora" in name]  # noqa: SIM118
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (out, base)]
    chat = [{"role": "user", "content": "Go."}]
    assert (
        len({tokenizer.apply_chat_template(chat, tokenize=False) for tokenizer in tokenizers}) == 1
    )

    told = json.loads((out / "manifest.json").read_text())
    assert told == {
        "training_id": ID, "base_model": base.name,
        "adapter_sha256": file_sha256(data.models / ID / "adapter" / "adapter_model.safetensors"),
        "files": merged.files,
    }  # fmt: skip
    assert merged.files["model.safetensors"] == file_sha256(out / "model.safetensors")
    with pytest.raises(PairstreamError, match="is there already"):
        merge_model(data, manifest, TrainingSettings(), out)


@pytest.fixture
def model(make_dataset: MakeDataset, train: Train, tmp_path: Path) -> tuple[DataDir, Any]:
    data = DataDir(tmp_path / "data")
    return data, published(data, train(make_dataset(), "--max-steps", 1))


def test_what_cannot_be_merged_leaves_no_folder(
    model: tuple[DataDir, TrainingManifest], tiny_model: Path, tmp_path: Path
) -> None:
    data, manifest = model
    out = tmp_path / "whole"

    def refused(words: str, **settings: str) -> None:
        with pytest.raises(PairstreamError, match=words):
            merge_model(data, manifest, TrainingSettings(**settings), out)
        assert not out.exists()
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".whole")] == []

    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    refused("was trained on tiny, and .*other is another model", base_model=str(other))

    quantised = tmp_path / "elsewhere" / "tiny"
    shutil.copytree(tiny_model, quantised)
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantised / "config.json").write_text(json.dumps(config))
    refused("is quantised: name the folder of the model", base_model=str(quantised))

    refused("no-python cannot be started", training_python="./no-python")
    (data.models / ID / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    refused("is not what manifest.json says")
