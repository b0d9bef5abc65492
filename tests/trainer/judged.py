"""Figures that a training may have left for the gate, and ways to spoil them."""

import msgspec
from msgspec.structs import replace

from trainer.gate import Figures, Generations, Measured, Moved

WELL = Generations(prompts=10, mean_tokens=40.0, repetition=0.1, special_tokens=0.0, empty=0.0)
BASE = Figures(accuracy=0.5, margin=0.2, chosen_logps=-1.0, generations=WELL)
BETTER = Figures(accuracy=0.75, margin=2.5, chosen_logps=-0.99, generations=WELL)
MOVED = Moved(share=1.0, largest_change=0.01)

# A candidate that passes all checks, and one that fails by its margin alone.
GOOD = Measured(pairs=40, moved=MOVED, base=BASE, candidate=BETTER)
WORSE = replace(GOOD, candidate=replace(BETTER, margin=0.1))


def _result(measured: Measured) -> str:
    return msgspec.json.encode({"final_loss": 0.5, "gate": measured}).decode()


# As a script leaves them in its result.
PASSING, REFUSED = _result(GOOD), _result(WORSE)
