"""Every command on the pages does what they say, or stands in one table with the reason why not.

A page is one session of one reader, from its top to its end.
"""

import importlib.util
import os
import re
import socket
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker
from tests.conftest import missing
from tests.pages import tables
from tests.pages.reading import ROOT, TEXTS, Saved, Step, Typed, steps_of, unmarked_commands
from tests.pages.session import LOOK_SECONDS, Session
from tests.pages.world import (
    TRAINED,
    adopt_models,
    make_files_of_agents,
    make_places,
    make_rows,
    make_stand_in_models,
)

SHOWN_SECONDS = 30.0

# A page that is about the gate has figures of it already.
SHORT_TRAININGS = {"PAIRSTREAM_GATE": "off", "PAIRSTREAM_TRAINING_MAX_STEPS": "2"}

BY_NAME = {str(path.relative_to(ROOT)): path for path in TEXTS}


@cache
def steps(page: str) -> list[Step]:
    return list(steps_of(BY_NAME[page].read_text()))


def commands(page: str) -> list[str]:
    return [step.text for step in steps(page) if isinstance(step, Typed)]


PAGES = [page for page in BY_NAME if set(commands(page)) - set(tables.NOT_RUN.get(page, {}))]


def marked(page: str) -> object:
    marks = [pytest.mark.training] if page in tables.TRAINING else []
    return pytest.param(page, marks=marks)


# --- The tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", BY_NAME)
def test_blocks_with_commands_say_so(page: str) -> None:
    assert unmarked_commands(BY_NAME[page].read_text()) == []


@pytest.mark.parametrize(
    "table",
    [tables.NOT_RUN, tables.INSTEAD, tables.BEFORE, tables.EXITS, tables.SHOWN_OF_ANOTHER],
)
def test_what_is_named_stands_on_its_page(table: Mapping[str, Collection[str]]) -> None:
    named = [(page, command) for page, about in table.items() for command in about]

    assert [each for each in named if each[1] not in commands(each[0])] == []


@pytest.mark.parametrize("page", BY_NAME)
def test_what_reaches_far_is_not_run(page: str) -> None:
    far = [command for command in commands(page) if re.search(tables.REACHES_FAR, command)]

    assert [command for command in far if command not in tables.NOT_RUN.get(page, {})] == []


def test_pages_that_are_named_have_commands_that_are_run() -> None:
    named = tables.APART | tables.TRAINING | tables.STAND_IN_MODELS | tables.BEGIN_WITH_NOTHING

    assert named | tables.GOES_ON_HERE.keys() <= set(PAGES)


def test_only_what_is_not_run_has_something_in_its_place() -> None:
    for page, about in tables.INSTEAD.items():
        assert about.keys() <= tables.NOT_RUN[page].keys()


def test_tests_that_run_it_elsewhere_are_there() -> None:
    reasons = " ".join(why for about in tables.NOT_RUN.values() for why in about.values())

    for named in re.findall(r"tests/[\w/]+\.py", reasons):
        assert (ROOT / named).is_file(), named


def test_pages_hold_commands() -> None:
    """Else the tests below would hold of nothing."""
    assert len(PAGES) >= 15
    assert sum(len(commands(page)) for page in PAGES) >= 100


# --- The commands --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that was trained for real on the first dataset of the pages."""
    folder = tmp_path_factory.mktemp("trained")
    make_places(folder)
    with EmbeddedBroker() as broker:
        data = make_rows(broker.bootstrap_servers, folder)
        env = variables(folder, broker.port) | SHORT_TRAININGS
        with Session(folder, folder / "logs", env) as session:
            done = session.run(
                "pairstream train pairstream-data/datasets/ds-000001 --base-model models/my-model"
            )
    assert done.code == 0, done.output
    return data.models / TRAINED


@pytest.mark.long
@pytest.mark.broker
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_commands_of_the_page_do_what_it_says(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = None
    if page in tables.TRAINING:
        if importlib.util.find_spec("trl") is None:
            missing("needs the packages that train: pip install 'pairstream[train]'")
        model = request.getfixturevalue("trained")
    stories = (
        [list(story) for _, story in groupby(steps(page), key=lambda step: step.section)]
        if page in tables.APART
        else [steps(page)]
    )
    told = (story for story in stories if any(isinstance(step, Typed) for step in story))
    for number, story in enumerate(told):
        Reader(page, tmp_path / str(number), model).read(story)


class Reader:
    """Somebody who does all that a page says, in a folder of their own."""

    def __init__(self, page: str, folder: Path, model: Path | None) -> None:
        self._page = page
        self._folder = folder
        self._model = model
        self._before = dict(tables.BEFORE.get(page, {}))
        self._exits = {
            command: iter(codes) for command, codes in tables.EXITS.get(page, {}).items()
        }
        self._goes_on = {**tables.GOES_ON, **tables.GOES_ON_HERE.get(page, {})}

    def read(self, story: list[Step]) -> None:
        make_places(self._folder)
        make_files_of_agents(self._folder)
        self._ports = {port: free_port() for port in tables.PORTS}
        with ExitStack() as stack:
            if self._page not in tables.BEGIN_WITH_NOTHING:
                broker = stack.enter_context(EmbeddedBroker(self._ports["9092"]))
                data = make_rows(broker.bootstrap_servers, self._folder)
                if self._model is None or self._page in tables.STAND_IN_MODELS:
                    make_stand_in_models(data)
                else:
                    adopt_models(data, self._model)
            env = variables(self._folder, self._ports["9092"])
            env["PAIRSTREAM_UI_PORT"] = str(self._ports["8321"])
            if self._page not in tables.BEGIN_WITH_NOTHING:
                env |= SHORT_TRAININGS
                env["PAIRSTREAM_BASE_MODEL"] = str(self._folder / "models" / "my-model")
            self._session = stack.enter_context(Session(self._folder, self._folder / "logs", env))
            for step in story:
                if isinstance(step, Saved):
                    self._save(step)
                else:
                    self._type(step)

    def _save(self, step: Saved) -> None:
        place = self._session.run("pwd").output.strip()
        (Path(place) / step.name).write_text(self._here(step.content))

    def _type(self, step: Typed) -> None:
        for command in self._before.pop(step.text, ()):
            self._do(command, 0)
        if step.text not in tables.NOT_RUN.get(self._page, {}):
            self._do(step.text, next(self._exits.get(step.text, iter(())), 0))
            is_ours = step.text not in tables.SHOWN_OF_ANOTHER.get(self._page, set())
            self._look_for(step.shown.splitlines()[: None if is_ours else 1])
        elif instead := tables.INSTEAD.get(self._page, {}).get(step.text):
            self._do(instead, 0)

    def _do(self, command: str, code: int) -> None:
        assert not re.search(tables.REACHES_FAR, command), command
        here = self._here(command)
        for pattern, sign in self._goes_on.items():
            if re.search(pattern, command):
                self._session.start(here, re.compile(sign).search)
                return
        done = self._session.run(here)
        assert done.code == code, f"{self._page}: `{command}`: {done.code}\n{done.output[-4000:]}"

    def _look_for(self, shown: list[str]) -> None:
        """Each line that the page shows, but for numbers, times and what `…` stands for."""
        wanted = [pattern_of(self._here(line)) for line in shown if line.strip()]
        deadline = time.monotonic() + SHOWN_SECONDS
        while True:
            told = [plain(line) for line in self._session.told().splitlines()]
            missed = [line.pattern for line in wanted if not any(map(line.fullmatch, told))]
            if not missed:
                return
            assert time.monotonic() < deadline, "\n".join([*missed, "is not among", *told[-60:]])
            time.sleep(LOOK_SECONDS)

    def _here(self, text: str) -> str:
        """With the ports and absolute places of this test alone."""
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(free), text)
        for place in tables.PLACES:
            text = re.sub(rf"(?<![\w.~$}}]){place}", f"{self._folder}{place}", text)
        text = re.sub(
            r"\bpairstream broker(?=$| &$)", f"pairstream broker --port {self._ports['9092']}", text
        )
        text = re.sub(
            r"\bpairstream bridge otlp$",
            f"pairstream bridge otlp --listen 127.0.0.1:{self._ports['4318']}",
            text,
        )
        return text.replace("0.0.0.0", "127.0.0.2").replace("/home/you", f"{self._folder}/home")


def plain(line: str) -> str:
    """With one number for all, times too, and one space where there are several."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "0", " ".join(line.split()))
    return re.sub(r"\d+(?:[.,:T-]\d+)*Z?", "0", text)


def pattern_of(shown: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, plain(shown).split("…"))))


def variables(folder: Path, port: int) -> dict[str, str]:
    """What a reader of a page in the middle has set by then; of the outside, next to nothing."""
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
    return {
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "PATH": path,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
        "PAIRSTREAM_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "PAIRSTREAM_SESSION_TIMEOUT_SECONDS": "6",  # the embedded broker lets join after half of it
        "PAIRSTREAM_LAUNCHER": "process",
        "PAIRSTREAM_TRAINING_PYTHON": sys.executable,
        "PAIRSTREAM_TRAINING_DEVICE": "cpu",
        "PAIRSTREAM_TRAINING_SPARE_DISK": "off",
        "PAIRSTREAM_TRAINING_SPARE_MEMORY": "off",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
