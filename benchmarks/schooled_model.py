"""A small model that has seen Python, made in a second: no hub, no training.

Llama's architecture with the statistics of the standard library's functions in its embeddings: it
knows how often each of its 512 pieces of text follows each other one, and nothing else. So what
it thinks of a program is no accident, and what a training does to that can be measured.
"""

import ast
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from pairstream.tiny_model import CHAT_TEMPLATE, CONFIG, HIDDEN, SPECIAL_TOKENS, make_tiny_model

VOCABULARY = 512
LONGEST_FUNCTION = 1200  # characters
SMOOTHING = 30.0  # how often a piece must be seen to weigh more than pieces in general

# Modules of plain code; those of tables and tests teach little.
MODULES = ("*.py", "asyncio/*.py", "email/*.py", "http/*.py", "json/*.py", "logging/*.py",
           "multiprocessing/*.py", "urllib/*.py", "xml/*/*.py", "concurrent/*/*.py")  # fmt: skip


def make_schooled_model(folder: Path) -> None:
    """Write what `transformers` loads. The same interpreter gives the same model."""
    texts = list(library_functions())
    make_tiny_model(folder)  # layers, and what else a folder holds
    tokenizer = _make_tokenizer(folder, [answer for _, answer in texts])
    counts = np.zeros((VOCABULARY, VOCABULARY))
    for ask, answer in texts:
        messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        np.add.at(counts, (ids[:-1], ids[1:]), 1)
    file = folder / "model.safetensors"
    save_file({**load_file(file), **_followers(counts)}, file, metadata={"format": "pt"})
    config = {**CONFIG, "vocab_size": VOCABULARY, "pad_token_id": tokenizer.pad_token_id,
              "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    ends = {name: config[name] for name in ("eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(ends))


def library_functions() -> Iterator[tuple[str, str]]:
    """What asks and what answers: signature with docstring, and the whole function."""
    library = Path(sysconfig.get_path("stdlib"))
    for file in sorted(path for pattern in MODULES for path in library.glob(pattern)):
        source = file.read_text(errors="replace")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef) or ast.get_docstring(node) is None:
                continue
            lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
            indent = len(lines[0]) - len(lines[0].lstrip())
            lines = [line[indent:] for line in lines]
            head = (node.body[0].end_lineno or node.lineno) - node.lineno + 1
            if len("\n".join(lines)) <= LONGEST_FUNCTION and len(node.body) > 1:
                yield "\n".join(lines[:head]), "\n".join(lines)


def _make_tokenizer(folder: Path, texts: list[str]) -> Any:
    """As it comes back from disk: under another class it might split text differently."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, _, end = SPECIAL_TOKENS
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=end)
    made.chat_template = CHAT_TEMPLATE
    made.save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    named = {**json.loads(config.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(named))
    return AutoTokenizer.from_pretrained(folder)


def _followers(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings whose products are the logarithms of how likely one piece follows another.

    As near as their width allows, nearest where there is most text: one place stands for how
    frequent a piece is at all, one keeps all inputs at the same length, so that the norm before
    the output scales them alike, and the others hold what makes each piece differ from that.
    """
    frequency = (counts.sum(axis=0) + 0.5) / (counts + 0.5 / VOCABULARY).sum()
    seen = counts.sum(axis=1, keepdims=True)
    likely = (counts + SMOOTHING * frequency) / (seen + SMOOTHING)
    heavy, frequent = (seen + 1) ** 0.25, np.sqrt(frequency)
    left, sizes, right = np.linalg.svd(heavy * np.log(likely / frequency) * frequent)
    width = HIDDEN - 2
    inputs = left[:, :width] * np.sqrt(sizes[:width]) / heavy
    outputs = right[:width].T * np.sqrt(sizes[:width]) / frequent[:, None]
    squares = (inputs**2).sum(axis=1)
    rest = np.sqrt(squares.max() - squares)
    ones, none = np.ones(VOCABULARY), np.zeros(VOCABULARY)
    # A mean square of 1, which the norm leaves as it is, and beside which layers that are nearly
    # nothing change nearly nothing.
    scale = np.sqrt(HIDDEN / (squares.max() + 1))
    return {
        "model.embed_tokens.weight": _matrix(scale, inputs, ones, rest),
        "lm_head.weight": _matrix(1 / scale, outputs, np.log(frequency), none),
    }


def _matrix(scale: float, *columns: np.ndarray) -> np.ndarray:
    """In the layout that safetensors writes as it is."""
    return np.ascontiguousarray(scale * np.column_stack(columns), np.float32)
