"""Where `ingest` has its events from: lines that are events, and files of other formats.

Both say what is bad, by its place, and go on.
"""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import click

from pairstream.formats import Format
from pairstream.formats.record import Choices, Source
from pairstream.run_mapping import Placed, RunMapping
from pairstream.terminal import counted
from schemas.errors import InvalidRecord, PairstreamError
from schemas.events import parse_event, run_id_of_unknown

STANDARD_INPUT = "-"


class EventSource(Protocol):
    """`bad` counts what was named and left out, `what_is_bad` says what it is counted in.

    `note` is what else a user should hear at the end.
    """

    what_is_bad: str

    @property
    def bad(self) -> int: ...

    @property
    def note(self) -> str: ...

    def events(self) -> Iterator[Placed]: ...


class EventLines:
    """Events of the contract, one a line; reads as it goes, so a file may be of any size."""

    what_is_bad = "bad lines"

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._bad = self._unknown = 0

    @property
    def bad(self) -> int:
        return self._bad

    @property
    def note(self) -> str:
        return f", {self._unknown} of unknown types" if self._unknown else ""

    def events(self) -> Iterator[Placed]:
        for name in self._names:
            try:
                with sys.stdin.buffer if name == STANDARD_INPUT else Path(name).open("rb") as lines:
                    yield from self._of_file(name, lines)
            except OSError as error:
                raise _unreadable(name, error) from error

    def _of_file(self, name: str, lines: Iterable[bytes]) -> Iterator[Placed]:
        for number, line in enumerate(lines, 1):
            event = line.strip()
            if not event:
                continue
            try:
                run_id = self._run_id(event)
            except InvalidRecord as error:
                self._bad += 1
                click.echo(f"{name}:{number}: {error}", err=True)
            else:
                yield f"{name}:{number}", run_id, event

    def _run_id(self, line: bytes) -> str:
        event = parse_event(line)
        if event is not None:
            return event.run_id
        run_id = run_id_of_unknown(line)
        self._unknown += 1
        return run_id


class MappedFiles:
    """Runs in files of another format; all files are read first, for a run may fill several."""

    what_is_bad = "runs or attempts that cannot be mapped"

    def __init__(self, names: Iterable[str], of: Format, choices: Choices) -> None:
        self._names = names
        self._format = of
        self._choices = choices
        self._mapping = RunMapping(partial(click.echo, err=True))

    @property
    def bad(self) -> int:
        return self._mapping.unmapped

    @property
    def note(self) -> str:
        left_out = self._mapping.left_out
        more = ""
        if left_out:
            more = f", {counted(left_out, 'attempt')} without a score left out"
        return f" of {counted(self._mapping.runs, 'run')}{more}"

    def events(self) -> Iterator[Placed]:
        sources = [source for name in self._names for source in _sources(name, self._format)]
        for found in self._format.load()(sources, self._choices):
            yield from self._mapping.events(found)


def _sources(name: str, of: Format) -> Iterator[Source]:
    """The file, or, of a folder, those of the format that are anywhere in it."""
    try:
        if name == STANDARD_INPUT:
            yield Source(name, sys.stdin.buffer.read())
        elif not Path(name).is_dir():
            yield Source(name, Path(name).read_bytes())
        else:
            found = {path for pattern in of.files for path in Path(name).rglob(pattern)}
            files = sorted(path for path in found if path.is_file())
            if not files:
                raise PairstreamError(f"{name} holds no {' or '.join(of.files)}")
            for path in files:
                yield Source(str(path), path.read_bytes())
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> PairstreamError:
    return PairstreamError(f"{name} cannot be read: {error.strerror}")
