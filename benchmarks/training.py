"""Row t: our script's training beside TRL's, by hand with the same settings and by default."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Row
from benchmarks.made_datasets import pairs_of, write_dataset
from benchmarks.peers.dpo import HANDS
from benchmarks.processes import output_of
from benchmarks.report import Figures, Goal, Measured, ratio
from pairstream.tiny_model import make_tiny_model
from schemas.rows import Pair

PAIRS, EVENTS = 96, 4000

# A pair with more of them, each a token, TRL's defaults would cut or leave out.
LONGEST = 900

# What the first loss may differ in: before the first step both are the same.
NEAR = 0.01


def measure(bench: Bench) -> Measured:
    """In turns, each in a process of its own; by the processor, once the libraries are there."""
    base, wanted = bench.new_folder() / "tiny", bench.scaled(PAIRS)
    make_tiny_model(base)
    load = bench.whole_load(EVENTS)
    pairs = [pair for pair in pairs_of(load) if characters(pair) <= LONGEST][:wanted]
    if len(pairs) < wanted:
        raise RuntimeError(f"the load has {len(pairs)} short pairs, not {wanted}")
    dataset = write_dataset(bench.new_folder() / "dataset", pairs, 0)
    measured = Measured(facts={"load": load.name, "pairs": wanted, "model": "tiny"})
    for _ in range(bench.options.turns):
        told = {hand: _train(bench, hand, dataset, base) for hand in HANDS}
        measured.turns.append(bench.told(_figures(told)))
        same = {hand: told[hand]["pairs"] == wanted for hand in HANDS}
        first = [told[hand]["losses"][0] for hand in ("ours", "by_hand")]
        measured.correctness |= {
            "all_trained_on_every_pair": all(same.values()),
            "by_hand_starts_with_our_loss": abs(first[0] - first[1]) < NEAR * first[0],
        }
    return measured


def characters(pair: Pair) -> int:
    """Of the prompt and the longer side."""
    prompt, *sides = (
        sum(len(message.content.encode()) for message in messages)
        for messages in (pair.prompt, pair.chosen, pair.rejected)
    )
    return prompt + max(sides)


def _train(bench: Bench, hand: str, dataset: Path, base: Path) -> dict[str, Any]:
    folder = bench.new_folder()
    command = (sys.executable, "-m", "benchmarks.peers.dpo", hand, dataset, base, folder / "out")
    # A cache of its own: what one has tokenized, the next one must not find.
    caches = {"HF_HOME": str(folder), "HF_DATASETS_CACHE": str(folder / "cache")}
    said = output_of(tuple(map(str, command)), caches)
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    return told


def _figures(told: dict[str, dict[str, Any]]) -> Figures:
    seconds = {hand: float(each["cpu_seconds"]) for hand, each in told.items()}
    return {
        **{f"{hand}_cpu_seconds": taken for hand, taken in seconds.items()},
        **{f"{hand}_seconds": float(each["seconds"]) for hand, each in told.items()},
        "of_by_hand": ratio(seconds["ours"], seconds["by_hand"]),
        "of_defaults": ratio(seconds["ours"], seconds["defaults"]),
    }


ROWS = (
    Row(
        "t",
        "training, processor time beside TRL's",
        (Goal("of_by_hand", "at most", 1.05), Goal("of_defaults", "at most", 0.75)),
        measure,
    ),
)
