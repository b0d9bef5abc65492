"""Writes with a local model of `transformers`, given the very prompts that pairs are made of."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from program_writer import Attempt, Message
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

STRATEGY_TOKENS = 128
PROGRAM_TOKENS = 512

_BLOCK = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


class Model:
    """A causal language model with a chat template, from a folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Raises: OSError or ValueError when the folder holds no such model."""
        disable_progress_bar()
        self.policy_id = folder.resolve().name
        self._seed = seed
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        ).eval()

    def for_run(self, number: int) -> "ModelWriter":
        torch.manual_seed(self._seed * 1_000_003 + number)
        return ModelWriter(self)

    def sample(self, messages: Sequence[Message], most_tokens: int) -> str:
        """One answer, as likely as the model finds it."""
        inputs = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=most_tokens
            )
        answer: str = self._tokenizer.decode(
            tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return answer


class ModelWriter:
    """Asks the model; a program's prompt is the strategy, and after a failure what went wrong."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def propose(self, prompt: Sequence[Message]) -> str:
        return self._model.sample(prompt, STRATEGY_TOKENS).strip()

    def program(self, strategy: str, failed: Sequence[Attempt]) -> str:
        messages = [{"role": "user", "content": strategy}]
        for attempt in failed:
            messages.append({"role": "assistant", "content": attempt.code})
            messages.append({"role": "user", "content": f"That failed: {attempt.error}. Again."})
        return program_in(self._model.sample(messages, PROGRAM_TOKENS))


def program_in(answer: str) -> str:
    """The first block of code of an answer, or all of it where there is none."""
    block = _BLOCK.search(answer)
    return block[1] if block else answer
