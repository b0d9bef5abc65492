"""What the pages are made from, and what they may answer with."""

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct

from pairstream.terminal import moment
from pairstream.ui.follower import Follower
from pairstream.ui.index_reader import IndexReader, reading
from pairstream.ui.index_tables import is_damage
from pairstream.ui.stories import Stories
from pairstream.ui.watch import Watch
from schemas.errors import PairstreamError
from schemas.settings import TrainerSettings, WorkerSettings
from trainer.layout import DataDir


class NotFound(PairstreamError):
    """There is no such thing; the message says where to look instead."""


class Asked(NamedTuple):
    """What a request asks for: the parts of its path, its query, and the fields of its form."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = {}


class Page(NamedTuple):
    """A template and what it shows; with `refresh` the browser asks again after so many seconds."""

    template: str
    title: str
    values: Mapping[str, Any]
    refresh: int | None = None
    status: int = 200


class Text(NamedTuple):
    """A text that the browser stores instead of showing it."""

    file_name: str
    content: bytes


class Redirect(NamedTuple):
    """Go on at another page of ours."""

    to: str


Answer = Page | Text | Redirect

Handler = Callable[["Site", Asked], Answer]


class SiteSettings(Struct, frozen=True):
    """Settings of the processes whose work is shown."""

    trainer: TrainerSettings
    worker: WorkerSettings


@dataclass
class Site:
    """Read by many threads at once; `form_token` is what only our own pages can post."""

    settings: SiteSettings
    follower: Follower
    watch: Watch
    stories: Stories
    form_token: str

    @property
    def data(self) -> DataDir:
        return DataDir(self.settings.trainer.data_dir)

    @contextmanager
    def index(self) -> Iterator[IndexReader]:
        """The index as it is now. Raises: PairstreamError where it cannot be read."""
        try:
            with reading(self.settings.trainer.data_dir) as index:
                yield index
        except sqlite3.Error as error:
            remedy = "`pairstream ui --rebuild` makes it anew if that does not pass"
            if is_damage(error):
                self.follower.make_index_anew()
                remedy = "it is made anew now"
            raise PairstreamError(f"the index cannot be read ({error}): {remedy}") from error


@contextmanager
def open_site(settings: SiteSettings) -> Iterator[Site]:
    """Start what keeps the pages up to date. Raises: PairstreamError where there is no index."""
    with ExitStack() as stack:
        yield Site(
            settings,
            stack.enter_context(Follower(settings.trainer)),
            stack.enter_context(Watch(settings.trainer)),
            stack.enter_context(Stories(settings.worker, settings.trainer)),
            secrets.token_urlsafe(32),
        )


def whole_number(asked: Asked, name: str) -> int | None:
    """A number of the query; None where there is none."""
    text = asked.query.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 16 else None


def moment_of(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else moment(time_ms)
