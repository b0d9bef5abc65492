"""What every launcher promises, as tests: a subclass says, by a fixture, where trainings run."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from safetensors.numpy import load_file

from tests.waiting import wait_for
from trainer.launcher import Ended, Launcher, Plan


class Place(Protocol):
    """Where the stand-in for the script runs."""

    def launcher(self) -> Launcher:
        """A new one, as of a trainer that has just been started."""
        ...

    def plan(self, *arguments: str) -> Plan:
        """Of the one training of this place."""
        ...

    def seen(self, name: str) -> str:
        """The path of a file in the training's folder, as the script must name it."""
        ...

    def leftovers(self) -> list[str]:
        """What the training has outside its folder."""
        ...


def nothing_to_say(_: str) -> None:
    """Progress that nobody reads."""


def prepared_and_started(launcher: Launcher, plan: Plan) -> None:
    launcher.prepare(plan, nothing_to_say)
    launcher.start(plan)


def followed(launcher: Launcher, plan: Plan) -> Ended:
    return wait_for(lambda: launcher.poll(plan), told=lambda: log_of(plan))


def log_of(plan: Plan) -> str:
    path = plan.folder / "training.log"
    return path.read_text() if path.exists() else ""


def starts(plan: Plan) -> int:
    """How often the script was started."""
    path = plan.folder / "starts"
    return path.read_text().count("started ") if path.exists() else 0


class LauncherPromises:
    """Tests of the protocol's promises."""

    def test_a_training_runs_and_leaves_its_files_and_its_log(self, place: Place) -> None:
        launcher, plan = place.launcher(), place.plan()

        prepared_and_started(launcher, plan)

        assert followed(launcher, plan) == Ended(0)
        assert list(load_file(plan.folder / "adapter" / "adapter_model.safetensors")) == ["a"]
        assert [line.split()[0] for line in log_of(plan).splitlines()] == ["begun", "trained"]

    def test_the_exit_code_is_the_scripts(self, place: Place) -> None:
        launcher, plan = place.launcher(), place.plan("--code", "13")

        prepared_and_started(launcher, plan)

        assert followed(launcher, plan) == Ended(13)

    def test_started_twice_it_runs_once(self, place: Place) -> None:
        launcher, plan = place.launcher(), place.plan("--until", place.seen("go"))

        prepared_and_started(launcher, plan)
        launcher.start(plan)
        assert launcher.poll(plan) is None
        (plan.folder / "go").touch()

        assert followed(launcher, plan) == Ended(0)
        launcher.start(plan)
        assert followed(launcher, plan) == Ended(0)
        assert starts(plan) == 1

    def test_started_by_two_at_once_it_runs_once(self, place: Place) -> None:
        plan = place.plan("--until", place.seen("go"))
        launchers = [place.launcher(), place.launcher()]
        launchers[0].prepare(plan, nothing_to_say)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda launcher: launcher.start(plan), launchers))
        wait_for(lambda: starts(plan) > 0)
        (plan.folder / "go").touch()

        assert [followed(launcher, plan) for launcher in launchers] == [Ended(0), Ended(0)]
        assert starts(plan) == 1

    def test_a_new_launcher_follows_what_the_old_one_started(self, place: Place) -> None:
        plan = place.plan("--until", place.seen("go"), "--code", "5")
        old = place.launcher()
        prepared_and_started(old, plan)
        with self.letting_go(plan):
            wait_for(lambda: old.poll(plan) is None and "begun" in log_of(plan))

            new = place.launcher()
            new.start(plan)
            assert new.poll(plan) is None

        assert followed(new, plan) == Ended(5)
        assert followed(place.launcher(), plan) == Ended(5)
        assert starts(plan) == 1
        assert [line.split()[0] for line in log_of(plan).splitlines()] == ["begun", "trained"]

    @contextlib.contextmanager
    def letting_go(self, plan: Plan) -> Iterator[None]:
        """A script that waits is let go, whatever happens in the test."""
        try:
            yield
        finally:
            (plan.folder / "go").touch()

    def test_its_log_comes_while_it_runs(self, place: Place) -> None:
        launcher, plan = place.launcher(), place.plan("--until", place.seen("go"))
        prepared_and_started(launcher, plan)

        with self.letting_go(plan):
            wait_for(lambda: launcher.poll(plan) is None and "begun" in log_of(plan))

        followed(launcher, plan)
        assert [line.split()[0] for line in log_of(plan).splitlines()] == ["begun", "trained"]

    def test_a_training_that_is_stopped_has_ended(self, place: Place) -> None:
        launcher, plan = place.launcher(), place.plan("--until", place.seen("never"))
        prepared_and_started(launcher, plan)
        wait_for(lambda: starts(plan) == 1)

        launcher.stop(plan)
        launcher.stop(plan)

        ended = launcher.poll(plan)
        assert ended is not None
        assert ended.code in (137, 143)
        assert not (plan.folder / "result.json").exists()

    def test_after_cleaning_up_nothing_is_left_and_it_may_be_started_again(
        self, place: Place
    ) -> None:
        launcher, plan = place.launcher(), place.plan("--code", "7")
        prepared_and_started(launcher, plan)
        followed(launcher, plan)

        launcher.clean_up(plan)
        launcher.clean_up(plan)
        place.launcher().clean_up(plan)
        wait_for(lambda: place.leftovers() == [])
        launcher.start(plan)

        assert followed(launcher, plan) == Ended(7)
        assert starts(plan) == 2
        assert (plan.folder / "result.json").exists()


def folders(root: Path) -> tuple[Path, Path]:
    """An empty dataset, and the folder of a training."""
    dataset, folder = root / "datasets" / "ds-000001", root / "models" / "t-1"
    for path in (dataset, folder):
        path.mkdir(parents=True)
    return dataset, folder
