"""What is said of a run by somebody else than its recorder, or later: a CI job, a person.

The run must still be open: whoever records it leaves `finish` to whoever scores it. What comes
after it was settled is a dead letter. Nothing here raises or waits, as in the recorder.
"""

import os
from datetime import datetime, timezone

from pairstream_client import events
from pairstream_client.publisher import Publisher, process_publisher
from pairstream_client.recorder import _Guard


def assign_score(
    run_id: str,
    strategy_id: str,
    attempt: int,
    score: float,
    *,
    by: str | None = None,
    publisher: Publisher | None = None,
) -> None:
    """Send `score.assigned`: it stands instead of the attempt's own score.

    Args:
        score: 0 or more; it counts nothing for code that did not run.
        by: who says so. Another score for the same attempt is refused, whoever says it.
    """
    publisher = process_publisher() if publisher is None else publisher
    with _Guard(publisher):
        number = events.attempt_number(attempt)
        fields = events.score_assigned(strategy_id=strategy_id, attempt=number, score=score, by=by)
        _send(publisher, fields, run_id, by)


def finish_run(run_id: str, *, publisher: Publisher | None = None) -> None:
    """Send `run.finished`, which settles the run."""
    publisher = process_publisher() if publisher is None else publisher
    with _Guard(publisher):
        _send(publisher, events.run_finished(), run_id, None)


def _send(publisher: Publisher, fields: events.Fields, run_id: str, source: str | None) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    publisher.send(
        events.encode(fields, run_id=run_id, time=now, event_id=os.urandom(16).hex(), source=source)
    )
