"""Where the trainer's group says that it is, against a directory's segments and the topic."""

from pathlib import Path

import pytest

from pairstream.verify.files import DataFiles
from pairstream.verify.positions import check_groups
from pairstream.verify.report import Checks
from pairstream.verify.segments import SegmentFile
from pairstream.verify.snapshot import Snapshot
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS

POSITION, END = 100, 180


@pytest.mark.parametrize(
    ("shown", "low", "state", "is_told"),
    [
        (0, 0, "holds", False),  # it has never shown any
        (POSITION, 0, "holds", False),
        (150, 0, "holds", True),
        (END, POSITION, "holds", True),
        (END, POSITION + 1, "broken", False),
        (END + 1, 0, "broken", False),
    ],
)
def test_a_directory_may_be_behind_what_the_trainer_shows_while_the_topic_has_the_rest(
    *, shown: int, low: int, state: str, is_told: bool
) -> None:
    checks, files = Checks(), DataFiles()
    files.segments = {0: [SegmentFile(Path("segment"), 0, 0, POSITION - 1, POSITION, "")]}
    workers = {topic.name: {0: (0, 1)} for topic in (RUN_EVENTS, GARBLE_REQUESTS)}
    kept = workers | {PAIRS.name: {0: (low, END)}}
    # Only the newest are read, as with --since: what is kept counts.
    read = workers | {PAIRS.name: {0: (END, END)}}

    check_groups(checks, Snapshot({}, read, {}, {}, kept), files, {0: shown})

    facts = checks.positions.facts
    assert (facts.state, facts.found) == (state, int(state == "broken"))
    assert ("behind what the trainer shows" in (facts.note or "")) == is_told
