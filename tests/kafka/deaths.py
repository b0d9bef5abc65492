"""Workers that die at a named step."""

from schemas.crash_points import VARIABLE
from tests.kafka.services import TAKEN_OVER, Deployment

CRASH_POINT = VARIABLE.removeprefix("PAIRSTREAM_").lower()
KILLED = -9


def die_at(deployment: Deployment, point: str, **settings: str) -> None:
    """Start a worker that has something to do; it must die at the point."""
    with deployment.running("worker", **{CRASH_POINT: point}, **settings) as worker:
        if point == "worker.revoked":
            worker.await_log(TAKEN_OVER)
            with deployment.running("worker"):
                end = worker.await_end()
        else:
            end = worker.await_end()
        assert end == KILLED, worker.log
