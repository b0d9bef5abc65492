"""Whether the memory of long-lived processes grows under load. Pure.

    python -m tests.chaos --leak --minutes 30

In this mode one worker and the trainer are never struck themselves.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from tests.chaos.checks import Found
from tests.chaos.schedule import Kind
from tests.chaos.watch import Sample

KINDS = (
    Kind.KILL_WORKER,
    Kind.STOP_WORKER,
    Kind.KILL_AGENT,
    Kind.KILL_NODE,
    Kind.STOP_NODE,
    Kind.CUT,
    Kind.CUT_NODE,
    Kind.SLOW,
    Kind.LOSE_ANSWERS,
)
OBSERVED = ("worker-1", "trainer")

# That of settled runs grows by intention until they are forgotten: here soon.
MEMORY_SECONDS = "120"
SETTINGS = {"PAIRSTREAM_SETTLED_RUN_MEMORY_SECONDS": MEMORY_SECONDS}
# The default: a worker that a busy machine holds up must not take itself for a zombie.
SESSION_SECONDS = 15.0

ALLOWED_GROWTH = 0.10
# Of the time: the first sixth is for what fills once, and sizes are those of windows.
SETTLED_SHARE = 1 / 6
WINDOW_SHARE = 1 / 15


def growth(samples: Sequence[Sample]) -> float:
    """By what share the memory at the end is above what it was when it had settled.

    Both are medians over a window: a sample may fall on a large batch.
    """
    end = samples[-1][0]
    window = end * WINDOW_SHARE
    early = _size(samples, end * SETTLED_SHARE, end * SETTLED_SHARE + window)
    return _size(samples, end - window, end) / early - 1


def _size(samples: Sequence[Sample], since: float, until: float) -> float:
    return median(size for at, size in samples if since <= at <= until)


def check_growth(
    memory: Mapping[str, Sequence[Sample]], figures: dict[str, object], *, observed: Sequence[str]
) -> Found:
    """Each observed process had one life, and did not grow in it beyond what is allowed."""
    found = Found([])
    for name in observed:
        lives = [life for life in memory if life.rpartition(".")[0] == name]
        if len(lives) != 1:
            found.wrong.append(f"{name} was to live through and had {len(lives)} lives")
            continue
        grown = growth(memory[lives[0]])
        figures[f"growth_of_{name}"] = round(grown, 3)
        if grown > ALLOWED_GROWTH:
            found.wrong.append(f"the memory of {name} grew by {grown:.0%}")
    return found
