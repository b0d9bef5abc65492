"""Samples from one model: a line of JSON in, a line of JSON out, until the input ends.

Started by `garbler_process.py`; imports nothing of ours, and nothing heavy before it runs.

    {"prompt": [...], "like": "...", "seed": 1, "temperature": 2.0}  ->  {"text": "..."}

The first line out says that the model is loaded, or why not ({"error": "..."}).
"""

import json
import os
import queue
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# Longer than the good text: what is over is cut off, what is missing cannot be added.
SPARE = 1.1
SPARE_TOKENS = 4


# Settling runs comes before sampling, where both want the same processor.
GIVES_WAY = 10


def main() -> None:
    os.nice(GIVES_WAY)
    answers = _private_output()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    try:
        model = Model(Path(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - the parent's user must know; nothing was read yet
        _say(answers, error=f"{type(error).__name__}: {error}"[:500])
        return
    _say(answers)
    while True:
        request = json.loads(requests.get())
        try:
            _say(answers, text=model.sample(**request))
        except Exception as error:  # noqa: BLE001 - its message may quote the prompt
            _say(answers, error=f"sampling_failed_{type(error).__name__}")


def _private_output() -> IO[bytes]:
    """Standard output for answers alone: libraries print where standard error goes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _read(requests: "queue.SimpleQueue[bytes]") -> None:
    """The end of the input is the end of the parent, whatever is being sampled."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _say(answers: IO[bytes], **answer: str) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


class Model:
    """A causal language model of a folder, without its own sampling settings."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        self._torch = torch
        self._config = GenerationConfig
        here = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **here)
        on_gpu = torch.cuda.is_available()
        dtype = "auto" if on_gpu else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, **here
        )
        self._model = model.to("cuda" if on_gpu else "cpu").eval()
        # Else the model's own top_k, penalties and so on would fill what is not given.
        self._model.generation_config = GenerationConfig()
        config = model.config.get_text_config()
        self._context: int = config.max_position_embeddings
        self._vocabulary: int = config.vocab_size
        self._silent = self._tokens_without_text()

    def _tokens_without_text(self) -> list[int]:
        """Special tokens, and rows of the output layer that no token has."""
        tokenizer = self._tokenizer
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        unused = range(len(tokenizer), self._vocabulary)
        return sorted({*special, *unused})

    def sample(self, prompt: list[dict[str, str]], like: str, seed: int, temperature: float) -> str:
        wanted = len(self._tokenizer(like, add_special_tokens=False)["input_ids"])
        count = min(int(wanted * SPARE) + SPARE_TOKENS, self._context // 2)
        # The end of a long prompt is what the answer stands next to.
        ids = self._prompt_ids(prompt)[count - self._context :]
        given = self._torch.tensor([ids], device=self._model.device)
        # One at a time: in a batch, the same seed gives another text in each row.
        self._torch.manual_seed(seed)
        with self._torch.inference_mode():
            made = self._model.generate(
                given,
                attention_mask=self._torch.ones_like(given),
                generation_config=self._config(
                    do_sample=True,
                    num_beams=1,
                    temperature=float(temperature),
                    top_k=0,
                    top_p=1.0,
                    min_p=None,
                    repetition_penalty=1.0,
                    suppress_tokens=self._silent,
                    max_new_tokens=count,
                    pad_token_id=0,
                ),
            )
        new = made[0, len(ids) :]
        text: str = self._tokenizer.decode(
            new, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _prompt_ids(self, prompt: list[dict[str, str]]) -> list[int]:
        from jinja2 import TemplateError

        text = "\n\n".join(message["content"] for message in prompt)
        if self._tokenizer.chat_template:
            with suppress(TemplateError):  # some take no system message; plain texts will do
                text = self._tokenizer.apply_chat_template(
                    prompt, add_generation_prompt=True, tokenize=False
                )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids or [0]


if __name__ == "__main__":
    main()
