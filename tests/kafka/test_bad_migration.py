"""More partitions by new topics beside the old ones: every run comes whole, once."""

from typing import Any

import orjson
import pytest

from schemas.topics import RUN_EVENTS
from streams.pairing import Settlement, settle
from tests.conftest import Pairstream
from tests.kafka.services import TAKEN_OVER, Deployment, Record
from tests.kafka.test_worker import await_settled, runs
from tests.streams.histories import fold

pytestmark = pytest.mark.kafka

EVENTS_OF_A_RUN = 5
WIDER = 6


@pytest.mark.parametrize("is_too_late", [False, True], ids=["before", "after"])
def test_migration_keeps_every_run_whole(
    deployment: Deployment,
    pairstream: Pairstream,
    is_too_late: bool,
) -> None:
    """Before or after somebody added partitions, with runs that are open at that time."""
    whole, opened = runs(0, 30), runs(30, 60)
    begun = [record for record in opened if not _is_last(record)]
    with deployment.running("worker") as worker:
        worker.await_log(TAKEN_OVER)
        deployment.send([*whole, *begun])
        await_settled(deployment, worker, 30)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    if is_too_late:
        deployment.widen(deployment.names.topic(RUN_EVENTS), to=WIDER)
        deployment.send([record for record in opened if _is_last(record)])

    new = Deployment(
        deployment.settings.bootstrap_servers,
        f"{deployment.settings.topic_prefix}v2.",
        deployment.folder,
        partitions=WIDER,
    )
    pairstream("topics", "apply", env=new.environment)
    prefix = deployment.settings.topic_prefix
    pairstream("topics", "migrate", "--from-prefix", prefix, env=new.environment)
    if not is_too_late:
        new.send([record for record in opened if _is_last(record)])

    with new.running("worker") as worker:
        await_settled(new, worker, 90)
        worker.wait_until(lambda: new.lag() == 0, "the end of the lag")
    settings = {"PAIRSTREAM_TRIGGER_PAIRS": "1", "PAIRSTREAM_LAUNCHER": "none"}
    pairstream("trainer", "--once", env={**new.environment, **settings})
    ids = sorted(row["pair_id"] for row in new.pairs_in_datasets())
    assert ids == sorted(_expected_ids([*whole, *opened]))
    assert new.dead_letters(RUN_EVENTS) == []


def _is_last(record: Record) -> bool:
    return bool(orjson.loads(record[1] or b"")["type"] == "run.finished")


def _expected_ids(records: list[Record]) -> list[str]:
    events = [orjson.loads(value or b"") for _, value in records]
    return [
        pair.pair_id
        for start in range(0, len(events), EVENTS_OF_A_RUN)
        for pair in _settled(events[start : start + EVENTS_OF_A_RUN]).pairs
    ]


def _settled(events: list[dict[str, Any]]) -> Settlement:
    return settle(fold(events[:-1], run_id=events[0]["run_id"]), "finished", extended=False)
