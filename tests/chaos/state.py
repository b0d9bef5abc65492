"""The workers' state: what their changelog says, held against the log. Pure."""

from collections.abc import Iterable

from tests.chaos.checks import Found, some
from tests.chaos.expected import Expected, Stored
from tests.chaos.ledger import Place

MARKER = "settled"


def check_state(
    records: Iterable[Stored], log: Iterable[Stored], expected: Expected, *, forgets: bool
) -> Found:
    """What a worker would start over with is what the log gives, and nobody wrote otherwise.

    The value under a key is a function of the log, whoever writes it: a zombie that wrote what
    its successor contradicts would show as a second value.

    Args:
        forgets: markers of settled runs may have been removed by their age.
    """
    found, values, left = Found([]), dict[bytes, bytes](), dict[bytes, Stored]()
    for record in records:
        key = record.key or b""
        if record.value is None:
            left.pop(key, None)
            continue
        left[key] = record
        if values.setdefault(key, record.value) != record.value:
            found.wrong.append(f"the state has two values under {key!r}")
    _compare(found, left, {record.place: record for record in log}, expected, forgets=forgets)
    return found


def _compare(
    found: Found,
    left: dict[bytes, Stored],
    log: dict[Place, Stored],
    expected: Expected,
    *,
    forgets: bool,
) -> None:
    settled: set[str] = set()
    events: dict[str, set[Place]] = {}
    for key, record in left.items():
        run_id, _, suffix = key.decode().rpartition("\x00")
        if not run_id:
            continue  # what the state says of its topics
        if suffix == MARKER:
            settled.add(run_id)
            continue
        place = (record.partition, int(suffix))
        events.setdefault(run_id, set()).add(place)
        source = log.get(place)
        if source is None or (source.key, source.value) != (run_id.encode(), record.value):
            found.wrong.append(f"the state has an event of {run_id} that is not at {place}")
    opened = events.keys() - settled
    for what, runs in (
        ("take for settled what is open", settled - expected.outcomes.keys()),
        ("take for open what is settled", opened - expected.open_runs),
        ("not know of open runs", expected.open_runs - opened),
    ):
        if runs:
            found.wrong.append(f"workers would {what}: {some(runs)}")
    forgotten = expected.outcomes.keys() - settled
    if forgotten and not forgets:
        found.lost += len(forgotten)
        found.wrong.append(f"the state has forgotten {len(forgotten)} runs: {some(forgotten)}")
