"""A reproduction as text for people."""

from collections.abc import Iterator

from pairstream.reproduction import Reproduction
from pairstream.terminal import aligned, counted, printable

DIFFERENCES_SHOWN = 12


def reproduction_lines(found: Reproduction) -> Iterator[str]:
    yield f"{found.training_id}, trained again in {found.folder}"
    within = "to the bit" if found.tolerance == 0 else f"within {found.tolerance:g}"
    yield f"{'the same' if found.reproduced else 'NOT the same'} {within}"
    yield _steps(found)
    yield from _figure_lines(found)
    yield _adapter(found)
    if found.ran_otherwise:
        rows = [[name, *map(_shown, both)] for name, both in found.ran_otherwise.items()]
        yield (
            "what it ran with differs, which may be why"
            if not found.reproduced
            else ("what it ran with differs, and changed nothing")
        )
        yield from (f"  {line}" for line in aligned([["", "first", "again"], *rows]))


def _steps(found: Reproduction) -> str:
    first, again = found.steps
    if first == again:
        return f"metrics: {counted(first, 'step')}"
    return f"metrics: {counted(first, 'step')} first, {again} again"


def _figure_lines(found: Reproduction) -> Iterator[str]:
    if not found.figures:
        yield "  no figure differs"
        return
    head = ["differs", "from step", "first", "again", "largest difference"]
    shown = found.figures[:DIFFERENCES_SHOWN]
    rows = [
        [diff.name, str(diff.step), _shown(diff.first), _shown(diff.again), _shown(diff.largest)]
        for diff in shown
    ]
    yield from (f"  {line}" for line in aligned([head, *rows]))
    if len(found.figures) > len(shown):
        yield f"  and {len(found.figures) - len(shown)} more (--json has all)"


def _adapter(found: Reproduction) -> str:
    adapter = found.adapter
    tensors = counted(adapter.tensors, "tensor")
    if not adapter.differing:
        return f"adapter: {tensors}, no difference beyond that"
    largest = "shapes or names" if adapter.largest is None else f"at most {adapter.largest:.3g}"
    return f"adapter: {len(adapter.differing)} of {tensors} differ: {largest}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.9g}" if isinstance(value, float) else printable(str(value))
