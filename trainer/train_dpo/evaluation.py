"""What the gate judges by: the trained model beside what it started from, on held-out rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from .control import control_ids
from .rounds import REFERENCE

# Enough to tell, few enough to take little of the training's time.
MOST_PAIRS, MOST_PROMPTS, NEW_TOKENS = 200, 8, 64
MOST_RESPONSES = 2 * MOST_PAIRS

GRAM = 4  # tokens in a row, which a model that has lost its way repeats

Weights = dict[str, Any]
Figures = dict[str, Any]
Side = tuple[float, int]  # the summed log-probability of a response, and its tokens


def adapter_weights(model: Any) -> Weights:
    """A copy of what is trained."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def gate_figures(trainer: Any, initial: Weights) -> Figures:
    moved = how_far(initial, adapter_weights(trainer.model))
    held_out = trainer.eval_dataset
    if held_out is None:
        return {"pairs": 0, "moved": moved}
    unpaired = "label" in held_out.column_names
    most = MOST_RESPONSES if unpaired else MOST_PAIRS
    held_out = held_out.select(range(min(most, len(held_out))))
    pairs = len(held_out)
    if unpaired:  # what is too few of either kind is too few
        pairs = min(held_out["label"].count(kind) for kind in (True, False))
        if not pairs:
            return {"pairs": 0, "unpaired": True, "moved": moved}
    trainer.model.eval()
    with as_it_started(trainer.model):
        base = measure(trainer, held_out)
    return {
        "pairs": pairs,
        **({"unpaired": True} if unpaired else {}),
        "base": base,
        "candidate": measure(trainer, held_out),
        "moved": moved,
    }


def how_far(initial: Weights, trained: Weights) -> Figures:
    """The share of the adapter's matrices that changed, and the largest change of a number."""
    changes = [float((trained[name] - before).abs().max()) for name, before in initial.items()]
    return {
        "share": sum(change > 0 for change in changes) / len(changes),
        "largest_change": max(changes),
    }


@contextlib.contextmanager
def as_it_started(model: Any) -> Iterator[None]:
    """Without the adapter, or with the one that it went on from."""
    if REFERENCE not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.base_model.set_adapter(REFERENCE, inference_mode=True)
    yield
    model.base_model.set_adapter("default")


def measure(trainer: Any, held_out: Any) -> Figures:
    """Of the model as it is now."""
    said = [likelihoods(trainer, batch) for batch in batches(trainer, held_out)]
    if "label" in held_out.column_names:
        figures = of_responses([side for batch in said for side in batch], held_out["label"])
    else:
        figures = of_pairs([pair for batch in said for pair in in_pairs(batch)])
    return {**figures, "generations": generations(trainer, held_out)}


def of_pairs(pairs: list[tuple[Side, Side]]) -> Figures:
    differences = [chosen - rejected for (chosen, _), (rejected, _) in pairs]
    return {
        "accuracy": fmean(difference > 0 for difference in differences),
        "margin": fmean(differences),
        "chosen_logps": a_token([chosen for chosen, _ in pairs]),
    }


def of_responses(sides: list[Side], labels: list[bool]) -> Figures:
    """The margin is that of the means: no good response stands against one bad one."""
    good = [side for side, label in zip(sides, labels, strict=True) if label]
    bad = [side for side, label in zip(sides, labels, strict=True) if not label]
    return {
        "margin": fmean(total for total, _ in good) - fmean(total for total, _ in bad),
        "chosen_logps": a_token(good),
    }


def a_token(sides: list[Side]) -> float:
    return fmean(total / max(tokens, 1) for total, tokens in sides)


def batches(trainer: Any, rows: Any) -> Any:
    from torch.utils.data import DataLoader

    size = trainer.args.per_device_eval_batch_size
    return DataLoader(rows, batch_size=size, collate_fn=trainer.data_collator)


def likelihoods(trainer: Any, batch: Any) -> list[Side]:
    """Of the responses of a batch; of pairs first all chosen ones."""
    import torch

    batch = {key: value.to(trainer.args.device) for key, value in batch.items()}
    ids, of_response = batch["input_ids"][:, 1:], batch["completion_mask"][:, 1:].bool()
    with torch.no_grad():
        output = trainer.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        )
        logits = output.logits[:, :-1][of_response].float()
        picked = logits.gather(-1, ids[of_response].unsqueeze(-1)).squeeze(-1)
        each = torch.zeros(ids.shape, device=ids.device)
        each[of_response] = picked - logits.logsumexp(dim=-1)
    return list(zip(each.sum(dim=1).tolist(), of_response.sum(dim=1).tolist(), strict=True))


def in_pairs(sides: list[Side]) -> list[tuple[Side, Side]]:
    half = len(sides) // 2
    return list(zip(sides[:half], sides[half:], strict=True))


def generations(trainer: Any, held_out: Any) -> Figures:
    """What it writes by itself to some held-out prompts, the likeliest token each time."""
    prompts = list(dict.fromkeys(map(tuple, held_out["prompt_ids"])))[:MOST_PROMPTS]
    tokenizer = trainer.processing_class
    responses = generate(trainer, [list(prompt) for prompt in prompts])
    special = control_ids(tokenizer)
    empty = [not tokenizer.decode(each, skip_special_tokens=True).strip() for each in responses]
    return {
        "prompts": len(responses),
        "mean_tokens": fmean(map(len, responses)),
        "repetition": repetition(responses),
        "special_tokens": fmean(not special.isdisjoint(each) for each in responses),
        "empty": fmean(empty),
    }


def generate(trainer: Any, prompts: list[list[int]]) -> list[list[int]]:
    """New tokens after each prompt, up to the end that the model set."""
    import torch

    model, tokenizer = trainer.model, trainer.processing_class
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    room = max(1, context - NEW_TOKENS) if context else None
    prompts = [prompt[-room:] if room else prompt for prompt in prompts]
    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    rows = [[pad] * (longest - len(prompt)) + prompt for prompt in prompts]
    masks = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ends = ends_of_a_message(model, tokenizer)
    with torch.no_grad():
        written = model.generate(
            input_ids=torch.tensor(rows, device=trainer.args.device),
            attention_mask=torch.tensor(masks, device=trainer.args.device),
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=NEW_TOKENS,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=sorted(ends) or None,
        )
    return [until(ends, row[longest:]) for row in written.tolist()]


def ends_of_a_message(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return {end for end in (*several, tokenizer.eos_token_id) if end is not None}


def until(ends: set[int], tokens: list[int]) -> list[int]:
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:end]


def repetition(responses: list[list[int]]) -> float:
    """The share of runs of four tokens that their response holds already."""
    grams = [
        [tuple(each[start : start + GRAM]) for start in range(len(each) - GRAM + 1)]
        for each in responses
    ]
    total = sum(map(len, grams))
    return 1 - sum(len(set(each)) for each in grams) / total if total else 0.0
