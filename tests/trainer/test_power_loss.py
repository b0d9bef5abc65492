"""Power fails after any step of the trainer: the next start repairs all, and breaks no word.

And every fsync is needed: a trainer that leaves one out is caught by the same checks.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.trainer.disk_model import Names, Sync, Tree
from tests.trainer.laboratory import INDEX, Laboratory, Tape
from tests.trainer.power_loss_session import DATA, ScriptInProcess
from tests.trainer.sync_sites import passes, sync_sites
from trainer import training, training_manifest, trainings
from trainer.image import BuildContext

pytestmark = pytest.mark.long

# Work of processes of their own, whose failures are those of a training.
SCRIPTS = ("train_dpo.", "supervise.")


# Calls without which nothing is lost here, and why.
NOT_NEEDED = {
    "base_model._link_or_copy:sync_file": "for a container, of a model that cannot be linked",
    "cancelling.wish_to_cancel:write_durably": "a person's command, which no trainer gives",
    "forgotten.remember_forgotten:make_folder": "a person's command",
    "forgotten.remember_forgotten:write_durably": "the same",
    "forgotten.mark_dataset:write_durably": "the same; a cut marks again what it finds unmarked",
    "image._make_own_folder:make_folder": "each start lays the context out again until the script "
    "has ended",
    "image.write:write_durably": "so it does; a file is replaced at once for those who read it",
    "intake.__init__:make_folder": "the first segment makes it safe again, before it has a name",
    "known_ids._write:fsync": "needed where a pair comes again: has a test of its own below",
    "known_ids._write:sync_folder": "a file that is gone is made anew from the table",
    "process_launcher._locked:make_folder": "makes the environment's folder, which pip can refill",
    "process_launcher.training_environment:sync": "needs an environment that pip takes minutes for",
    "trainings.train_pending:make_folder": "for a word to people about what cannot start yet",
    "training.run_training:sync_folder": "what is taken for unfinished is finished again: its last "
    "steps are told twice, and `latest` is not changed any more",
    "source.directory_id:make_folder": "asked by `pairstream train` where there is no trainer",
    "source.directory_id:write_durably": "the same",
    "service._locked:make_folder": "`open_source` makes the same folder safe before it is used",
}


NEEDED = [site for site in sync_sites() if site not in NOT_NEEDED]
OWN_FILES = [
    site
    for site in NEEDED
    if site.endswith((":fsync", ":sync_file", ":write_durably"))
    and not site.startswith(("layout.sync_folder", *SCRIPTS))
]


@pytest.fixture(scope="module", autouse=True)
def _stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr(training, "training_context", lambda: BuildContext({"Dockerfile": b""}))
        patch.setattr(trainings, "make_launcher", lambda _, venv: ScriptInProcess(venv))
        yield


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """In memory where there is such a disk: SQLite's own fsyncs take no time there."""
    memory = Path("/dev/shm")
    below = memory if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("laboratory")
    with tempfile.TemporaryDirectory(dir=below) as folder:
        yield Laboratory(Path(folder))


@pytest.fixture(scope="module")
def tape(laboratory: Laboratory) -> Tape:
    """Of one start that is never interrupted."""
    tape = Tape()
    laboratory.record(tape)
    return tape


def outcomes(tape: Tape) -> Iterator[tuple[int, Tree]]:
    """Every tree that a loss of power may leave, with the last moment that may leave it."""
    found = {
        tuple((path, *told[:2]) for path, told in tree.items()): (end, tree)
        for end in range(len(tape) + 1)
        for tree in tape.history.outcomes(end)
    }
    yield from found.values()


def poorest(tape: Tape, start: int) -> Iterator[tuple[int, Tree]]:
    """What is left when all in doubt is lost, wherever the world was told something."""
    for end in sorted({when for when, _ in tape.told if when >= start} | {len(tape)}):
        yield end, tape.history.tree(end, frozenset(tape.history.in_doubt(end)))


def index_states(tape: Tape, end: int) -> list[dict[str, bytes]]:
    """The index is derived from the segments, so it may be in any state."""
    now = tape.history.derived[end - 1] if end else {}
    main = {name: content for name, content in now.items() if name.endswith(INDEX)}
    return [
        now,
        {},
        main,
        tape.history.derived[end // 2],
        tape.history.derived[-1],
        {str(DATA / INDEX): b"no database " * 500},
        {str(DATA / INDEX): b""},
    ]


def test_what_was_recorded_gives_the_tree_that_is_there(laboratory: Laboratory) -> None:
    tape = Tape()
    disk = laboratory.record(tape)

    found = {
        str(path.relative_to(disk)): (
            path.lstat().st_mode,
            str(path.readlink()).encode() if path.is_symlink()
            else path.read_bytes() if path.is_file() else b"",
        )
        for path in disk.rglob("*")
        if not path.name.startswith(INDEX)
    }  # fmt: skip
    assert {path: each[:2] for path, each in tape.history.tree(len(tape)).items()} == found
    kinds = {type(step).__name__ for step in tape.history.steps}
    assert kinds == {"Names", "Content", "Mode", "Sync"}


def test_the_recorded_start_cuts_and_trains_more_than_once(tape: Tape) -> None:
    said = tape.said(len(tape))

    assert len(said.models) >= 2
    assert len(said.positions) == 2
    assert said.refused


def test_power_lost_after_any_step_loses_nothing(laboratory: Laboratory, tape: Tape) -> None:
    left = list(outcomes(tape))
    assert len(left) > len(tape)
    for number, (end, tree) in enumerate(left):
        states = index_states(tape, end)
        index = states[number % len(states)]
        laboratory.recover(tree, index, tape.said(end), repeated=number % 2 == 0)


def test_whatever_became_of_the_index_nothing_is_lost(laboratory: Laboratory, tape: Tape) -> None:
    for end, tree in poorest(tape, 0):
        for index in index_states(tape, end):
            laboratory.recover(tree, index, tape.said(end))


def kills(tape: Tape) -> list[int]:
    """Before each fsync that would make a name safe: what has its name is what a start sees."""
    steps = tape.history.steps
    return [
        end
        for end, step in enumerate(steps)
        if isinstance(step, Sync)
        and any(
            isinstance(steps[n], Names) and steps[n].node == step.node
            for n in tape.history.in_doubt(end)
        )
    ]


def assert_killed_then_without_power(
    laboratory: Laboratory, tape: Tape, end: int, before_sync: Callable[[], bool] = lambda: True
) -> None:
    """The next start builds on nothing that the killed one had not made safe."""
    second = tape.until(end)
    laboratory.record(second, once=True, before_sync=before_sync)
    for later, tree in poorest(second, end):
        laboratory.recover(tree, {}, second.said(later))


def test_power_lost_after_a_kill_and_another_start_loses_nothing(
    laboratory: Laboratory, tape: Tape
) -> None:
    for end in kills(tape):
        assert_killed_then_without_power(laboratory, tape, end)


@pytest.mark.parametrize("site", OWN_FILES)
def test_content_whose_fsync_failed_is_never_relied_on(site: str, laboratory: Laboratory) -> None:
    """The failure ends the trainer; the next fsync of the same file would succeed and lie."""
    assert_fails_and_goes_on(laboratory, site)


def test_a_trainer_that_tries_a_failed_fsync_again_is_caught(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync_and_keep(path: Path) -> None:
        with path.open("rb") as file:
            os.fsync(file.fileno())

    monkeypatch.setattr(training_manifest, "sync_file", sync_and_keep)
    with pytest.raises(AssertionError, match=r"training\.log"):
        assert_fails_and_goes_on(laboratory, "training_manifest.how_it_ended:sync_file")


def assert_fails_and_goes_on(laboratory: Laboratory, site: str) -> None:
    place = sync_sites()[site]
    failed: list[str] = []

    def fail_once() -> bool:
        if passes(place) and not failed:
            failed.append(site)
            raise OSError(errno.EIO, "Input/output error")
        return True

    tape = Tape()
    with pytest.raises(OSError, match="Input/output error"):
        laboratory.record(tape, before_sync=fail_once)
    end = len(tape)
    laboratory.record(tape, once=True)
    for later, tree in poorest(tape, end):
        laboratory.recover(tree, {}, tape.said(later))


# --- Every fsync is needed -----------------------------------------------------------------------


@pytest.mark.parametrize("site", NEEDED)
def test_a_trainer_that_skips_an_fsync_is_caught(
    site: str, laboratory: Laboratory, tape: Tape
) -> None:
    place = sync_sites()[site]
    skipped: list[str] = []

    def before_sync() -> bool:
        if passes(place):
            skipped.append(site)
            return False
        return True

    mutant = Tape()
    laboratory.record(mutant, before_sync=before_sync)
    assert is_caught(laboratory, tape, mutant, before_sync), f"skipped {len(skipped)} times"
    assert skipped


def test_known_ids_that_are_not_synced_are_caught(laboratory: Laboratory) -> None:
    """By an index that is there as it was, and pairs that come again."""
    place = sync_sites()["known_ids._write:fsync"]
    mutant = Tape()
    laboratory.record(mutant, before_sync=lambda: not passes(place))

    def recover_all() -> None:
        for end, tree in outcomes(mutant):
            index = index_states(mutant, end)[0]
            laboratory.recover(tree, index, mutant.said(end), repeated=True)

    with pytest.raises(AssertionError):
        recover_all()


def is_caught(
    laboratory: Laboratory, tape: Tape, mutant: Tape, before_sync: Callable[[], bool]
) -> bool:
    """What the whole trainer could not have left comes first: there it is noticed, if anywhere."""
    sound = {shape(tape, *outcome) for outcome in outcomes(tape)}
    new = [outcome for outcome in outcomes(mutant) if shape(mutant, *outcome) not in sound]
    try:
        for end, tree in (*poorest(mutant, 0), *new):
            laboratory.recover(tree, {}, mutant.said(end))
        for end in kills(mutant):
            assert_killed_then_without_power(laboratory, mutant, end, before_sync)
    except Exception:  # noqa: BLE001 - whatever a start or a check says, it has noticed
        return True
    return False


def shape(tape: Tape, end: int, tree: Tree) -> tuple[object, ...]:
    """An outcome without its times and random names: those differ between two starts."""
    files = ((path, mode, len(content), any(content)) for path, (mode, content, _) in tree.items())
    return (sum(when <= end for when, _ in tape.told), *files)
