"""What a loss of power may leave, by the model: no more and no less than POSIX promises."""

import stat

import pytest

from tests.trainer.disk_model import (
    ROOT,
    Born,
    Content,
    History,
    Names,
    Step,
    Sync,
    SyncFailed,
)

OLD, NEW = 1, 2
FILE = Born(stat.S_IFREG | 0o644)

MADE = Names(ROOT, (("a", OLD),))
MADE_TOO = Names(ROOT, (("b", NEW),))
RENAMED = Names(ROOT, (("a", NEW), ("b", None)))
WRITTEN, WRITTEN_TOO = Content(OLD, b"old!"), Content(NEW, b"new!")


def left(*steps: Step) -> set[tuple[tuple[str, bytes], ...]]:
    """Every outcome, as names with contents."""
    history = History(list(steps), [Born(stat.S_IFDIR | 0o755), FILE, FILE])
    return {
        tuple((name, content) for name, (_, content, _) in tree.items())
        for tree in history.outcomes(len(steps))
    }


NOTHING = ()
TORN = {(("a", b"ol"),), (("a", bytes(4)),)}


@pytest.mark.parametrize(
    ("steps", "outcomes"),
    [
        pytest.param([MADE, Sync(ROOT)], {(("a", b""),)}, id="a synced name stays"),
        pytest.param([MADE, Sync(OLD)], {NOTHING, (("a", b""),)}, id="its fsync names nothing"),
        pytest.param(
            [MADE, Sync(ROOT), WRITTEN],
            {(("a", b""),), (("a", b"old!"),), *TORN},
            id="content may be missing or torn",
        ),
        pytest.param(
            [MADE, WRITTEN, Sync(OLD)], {NOTHING, (("a", b"old!"),)}, id="content without its name"
        ),
        pytest.param(
            [MADE, WRITTEN, Sync(OLD), MADE_TOO, Sync(ROOT), WRITTEN_TOO, Sync(NEW), RENAMED],
            {(("a", b"old!"), ("b", b"new!")), (("a", b"new!"),)},
            id="a rename happens or not",
        ),
        pytest.param(
            [MADE, MADE_TOO],
            {NOTHING, (("a", b""),), (("b", b""),), (("a", b""), ("b", b""))},
            id="names come in any order",
        ),
        pytest.param(
            [MADE, Sync(ROOT), WRITTEN, SyncFailed(OLD), Sync(OLD)],
            {(("a", b""),), (("a", b"old!"),), *TORN},
            id="a second fsync makes nothing safe that the first one lost",
        ),
        pytest.param(
            [MADE, Sync(ROOT), WRITTEN, SyncFailed(OLD), WRITTEN, Sync(OLD)],
            {(("a", b"old!"),)},
            id="what is written again is safe",
        ),
    ],
)  # fmt: skip
def test_a_loss_of_power_leaves(
    steps: list[Step], outcomes: set[tuple[tuple[str, bytes], ...]]
) -> None:
    assert left(*steps) == outcomes
