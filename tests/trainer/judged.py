"""Figures that a training may have left for the gate, and ways to spoil them."""

import json
from typing import Any

from trainer.gate import Figures, Generations, Measured, Moved

WELL = Generations(prompts=10, mean_tokens=40.0, repetition=0.1, special_tokens=0.0, empty=0.0)
BASE = Figures(accuracy=0.5, margin=0.2, chosen_logps=-1.0, generations=WELL)
BETTER = Figures(accuracy=0.75, margin=2.5, chosen_logps=-0.99, generations=WELL)
MOVED = Moved(share=1.0, largest_change=0.01)

# A candidate that passes all checks.
GOOD = Measured(pairs=40, moved=MOVED, base=BASE, candidate=BETTER)


def result(**gate: Any) -> str:
    """A script's result, as the stand-in script takes it."""
    return json.dumps({"final_loss": 0.5, "gate": gate})


PASSING = result(
    pairs=40,
    moved={"share": 1.0, "largest_change": 0.01},
    base={"accuracy": 0.5, "margin": 0.2, "chosen_logps": -1.0},
    candidate={"accuracy": 0.75, "margin": 2.5, "chosen_logps": -0.99},
)
REFUSED = result(
    pairs=40,
    moved={"share": 1.0, "largest_change": 0.01},
    base={"accuracy": 0.5, "margin": 0.2, "chosen_logps": -1.0},
    candidate={"accuracy": 0.75, "margin": 0.1, "chosen_logps": -0.99},
)
