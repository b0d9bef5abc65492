"""The base model: its layers, its parameters, its four bits."""

import importlib
import inspect
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PairstreamError
from tests.training.conftest import MakeDataset, Train, pair
from trainer.base_model import resolve_base_model
from trainer.train_dpo.command import prepare_process
from trainer.train_dpo.files import save_adapter
from trainer.train_dpo.model import (
    KERNEL_LOGGER,
    NO_KERNEL,
    adaptable_layers,
    count_parameters,
    load_model,
)
from trainer.train_dpo.refusals import BAD_DATA

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

VOCABULARY, WIDTH = 320, 64


def save_random_model(kind: str, folder: Path) -> Path:
    """The smallest of its kind that 4-bit quantisation takes."""
    import transformers

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    config = {
        "llama": lambda: transformers.LlamaConfig(**sizes),
        "qwen2": lambda: transformers.Qwen2Config(**sizes, tie_word_embeddings=True),
        "gpt2": lambda: transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=64, n_embd=WIDTH, n_layer=2, n_head=2
        ),
    }[kind]()
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def random_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    request.getfixturevalue("training_packages")
    return save_random_model(request.param, tmp_path_factory.mktemp("models") / request.param)


def adapted(folder: Path, quantization: str, targets: object) -> set[str]:
    """Full names of the modules that PEFT adapts."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    model = load_model(folder, "cpu", quantization)
    targets = adaptable_layers(model) if targets is None else targets
    model = get_peft_model(model, LoraConfig(target_modules=targets, task_type="CAUSAL_LM"))
    return {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_adaptable_layers_are_pefts_all_linear(random_model: Path, quantization: str) -> None:
    found = adapted(random_model, quantization, None)
    assert found == adapted(random_model, quantization, "all-linear")
    assert len(found) == 2 * (4 if random_model.name == "gpt2" else 7)
    assert not any("lm_head" in name for name in found)


def test_output_embedding_is_told_by_identity_not_by_name(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_model, "cpu", "nf4")
    assert "lm_head" not in adaptable_layers(model)
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    assert "lm_head" in adaptable_layers(model)


def test_four_bit_weights_count_as_what_they_stand_for(random_model: Path) -> None:
    import torch
    from transformers.pytorch_utils import Conv1D

    plain = load_model(random_model, "cpu", "none")
    four_bit = load_model(random_model, "cpu", "nf4")
    total = sum(parameter.numel() for parameter in plain.parameters())
    linear = sum(
        module.weight.numel()
        for module in plain.modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not plain.get_output_embeddings()
    )
    assert count_parameters(plain)["total"] == total
    counted = count_parameters(four_bit)
    assert (counted["total"], counted["quantized"]) == (total, linear)
    naive = sum(parameter.numel() for parameter in four_bit.parameters())
    assert naive == total - linear // 2, "two weights lie in each stored number"


def test_adapters_are_what_is_trainable(make_trainer: Callable[..., Any]) -> None:
    rank, width, intermediate, layers = 4, 128, 256, 2
    trainer = make_trainer([pair(0)], "--lora-rank", rank)
    attention, feed_forward = 4 * (width + width), 3 * (width + intermediate)
    trainable = rank * layers * (attention + feed_forward)
    counted = count_parameters(trainer.model)
    assert counted["trainable"] == trainable
    plain = layers * (4 * width**2 + 3 * width * intermediate + 2 * width) + width + 2 * 320 * width
    assert counted["total"] == plain + trainable


def test_output_embedding_is_not_quantised(tiny_model: Path) -> None:
    import bitsandbytes
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = load_model(tiny_model, "cpu", "nf4")
    quantised = [
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    ]
    assert len(quantised) == 14
    assert "lm_head" not in quantised
    assert model.config.quantization_config.llm_int8_skip_modules is None

    # A list of one's own replaces the library's, which spares the output embedding.
    uncured = AutoModelForCausalLM.from_pretrained(
        tiny_model,
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=["q_proj"]),
    )
    assert isinstance(uncured.lm_head, bitsandbytes.nn.Linear4bit)


def lowest_gradients(model: Any) -> list[float]:
    """Of the adapters of the lowest layer, after one forward pass in evaluation, and one back."""
    import torch

    ids = torch.arange(16).unsqueeze(0)
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    return [
        0.0 if parameter.grad is None else float(parameter.grad.norm())
        for name, parameter in model.named_parameters()
        if ".layers.0." in name and "lora_B" in name
    ]


def test_gradients_survive_an_evaluation(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import bitsandbytes
    from bitsandbytes.functional import has_avx512bf16

    model = make_trainer([pair(0)]).model
    layers = [
        module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)
    ]
    # The flag is looked at too, because only a CPU with AVX512-BF16 shows what it is for.
    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    assert all(gradient > 0 for gradient in lowest_gradients(model))

    if has_avx512bf16():
        monkeypatch.setattr("trainer.train_dpo.model.keep_weights_differentiable", lambda _: None)
        uncured = lowest_gradients(make_trainer([pair(0)]).model)
        assert 0.0 in uncured


def test_a_kernel_that_is_never_used_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    cpu = importlib.import_module(KERNEL_LOGGER)
    assert NO_KERNEL in inspect.getsource(cpu), "the library words it otherwise now"
    assert cpu.logger.name == KERNEL_LOGGER

    prepare_process()
    cpu.logger.warning("%s from kernels-community: please install it", NO_KERNEL)
    cpu.logger.warning("something else")

    assert [record.message for record in caplog.records] == ["something else"]


def log_probabilities(model: Any) -> Any:
    import torch

    ids = torch.arange(40, 90).unsqueeze(0)
    model.eval()
    with torch.no_grad():
        return torch.log_softmax(model(input_ids=ids).logits.float(), dim=-1)


# Of the whole effect of the training, as a share of its norm. Measured: 0.11 for the adapter on
# the plain base, which differs from the 4-bit one by its rounding; 0.84 for the merged weights.
MOSTLY_KEPT, MOSTLY_LOST = 0.25, 0.5


def test_adapter_works_on_the_plain_base_and_is_not_merged_into_four_bits(
    make_dataset: MakeDataset, train: Train, tiny_model: Path
) -> None:
    from peft import PeftModel

    trained = train(make_dataset(), "--learning-rate", 1e-3)
    assert trained.code == 0
    assert list(trained.output.rglob("model*.safetensors")) == []

    def effect(quantization: str, *, merged: bool = False) -> Any:
        base = load_model(tiny_model, "cpu", quantization)
        before = log_probabilities(base)
        model = PeftModel.from_pretrained(base, trained.output / "adapter")
        return log_probabilities(model.merge_and_unload() if merged else model) - before

    as_trained = effect("nf4")
    assert as_trained.norm() > 1
    assert (effect("none") - as_trained).norm() < MOSTLY_KEPT * as_trained.norm()
    assert (effect("nf4", merged=True) - as_trained).norm() > MOSTLY_LOST * as_trained.norm()


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_loaded_adapter_is_the_trained_model(
    make_dataset: MakeDataset,
    train: Train,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    quantization: str,
) -> None:
    import torch
    from peft import PeftModel

    kept = []
    save = save_adapter

    def save_and_keep(trainer: Any, folder: Path, base_name: str) -> None:
        kept.append(log_probabilities(trainer.model))
        save(trainer, folder, base_name)

    monkeypatch.setattr("trainer.train_dpo.command.save_adapter", save_and_keep)
    trained = train(make_dataset(), "--quantization", quantization)
    base = load_model(tiny_model, "cpu", quantization)
    before = log_probabilities(base)
    loaded = log_probabilities(PeftModel.from_pretrained(base, trained.output / "adapter"))
    torch.testing.assert_close(loaded, kept[0], rtol=0, atol=1e-5)
    assert (loaded - before).abs().max() > 0.1, "nothing was trained"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", None),
        ("config.json", '{"model_type": "t5"}'),
        ("config.json", "{}"),
        ("tokenizer.json", "{}"),
        ("model.safetensors", None),
        ("model.safetensors", "no weights"),
    ],
)
def test_bad_base_model_is_refused(
    make_dataset: MakeDataset,
    train: Train,
    tiny_model: Path,
    tmp_path: Path,
    file: str,
    content: str | None,
) -> None:
    base_model = tmp_path / "bad"
    shutil.copytree(tiny_model, base_model)
    (base_model / file).unlink()
    if content is not None:
        (base_model / file).write_text(content)
    trained = train(make_dataset(), base_model=base_model)
    assert trained.code == BAD_DATA
    assert f"train_dpo: {base_model} " in trained.stderr


@pytest.mark.parametrize(("kind", "code"), [("own", BAD_DATA), (None, 0)])
def test_code_that_comes_with_a_base_model_does_not_run(
    make_dataset: MakeDataset,
    train: Train,
    tiny_model: Path,
    tmp_path: Path,
    kind: str | None,
    code: int,
) -> None:
    base_model = tmp_path / "with-code"
    shutil.copytree(tiny_model, base_model)
    for name, classes in {
        "config.json": ("AutoConfig", "AutoModelForCausalLM"),
        "tokenizer_config.json": ("AutoTokenizer",),
    }.items():
        config = json.loads((base_model / name).read_text())
        config["auto_map"] = {each: "own.Own" for each in classes}
        config |= {"model_type": kind} if kind and name == "config.json" else {}
        (base_model / name).write_text(json.dumps(config))
    (base_model / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    trained = train(make_dataset(), "--max-steps", 1, base_model=base_model)

    assert trained.code == code
    assert not (tmp_path / "ran").exists()


def test_weights_in_a_pickle_alone_are_refused_and_the_command_that_is_named_converts_them(
    make_dataset: MakeDataset, train: Train, tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    base_model = tmp_path / "old"
    shutil.copytree(tiny_model, base_model)
    weights = load_file(base_model / "model.safetensors")
    (base_model / "model.safetensors").unlink()
    torch.save(weights, base_model / "pytorch_model.bin")

    trained = train(make_dataset(), base_model=base_model)
    assert trained.code == BAD_DATA
    assert "model.safetensors" in trained.stderr
    with pytest.raises(PairstreamError) as refused:
        resolve_base_model(str(base_model))
    command = str(refused.value).partition("transformers is installed: ")[2]
    _, *words = shlex.split(command)
    subprocess.run([sys.executable, *words], check=True, timeout=100, cwd=tmp_path)

    converted = load_file(resolve_base_model(str(base_model)) / "model.safetensors")
    assert converted.keys() <= weights.keys()
    for name, tensor in converted.items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)
    assert load_model(base_model, "cpu", "none") is not None


def test_base_model_that_is_not_there_is_refused_in_one_line(
    make_dataset: MakeDataset, train: Train, tmp_path: Path
) -> None:
    missing = tmp_path / "no-model"
    trained = train(make_dataset(), base_model=missing)
    assert trained.code == BAD_DATA
    assert trained.stderr == f"train_dpo: {missing} is no transformers model: no config.json\n"
