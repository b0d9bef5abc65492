"""From a page's values to HTML: everything is text unless it was made here as markup."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pairstream.terminal import shown_time
from pairstream.ui.charts import number, share_bar
from pairstream.ui.shown import shown_line, shown_text
from pairstream.ui.site import Page, Site, moment_of

# Where there is no figure.
NOTHING = "\u2013"

# Each section's name and address; a page belongs to the one whose address its own begins with.
SECTIONS = (
    ("Stream", "/"),
    ("Yield", "/yield"),
    ("Runs", "/runs"),
    ("Pairs", "/pairs"),
    ("Datasets", "/datasets"),
    ("Trainings", "/trainings"),
    ("Models", "/models"),
)

# The section of a template whose name is not that of its section.
SECTION_OF = {
    "run.html": "Runs",
    "pair.html": "Pairs",
    "dataset.html": "Datasets",
    "difference.html": "Datasets",
    "training.html": "Trainings",
    "model.html": "Models",
    "change.html": "Models",
}


class Renderer:
    """Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._environment = Environment(
            loader=PackageLoader("pairstream.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=as_markup,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "attr": escape,
            "line": shown_line,
            "text": shown_text,
            "n": _number,
            "time": _time,
            "moment": moment_of,
        }
        self._environment.globals |= {"bar": share_bar, "link": link}

    def page(self, page: Page) -> str:
        settings, follower = self._site.settings.trainer, self._site.follower
        section = SECTION_OF.get(page.template, page.title)
        return self._environment.get_template(page.template).render(
            page.values,
            title=page.title,
            refresh=page.refresh,
            sections=SECTIONS,
            section=section,
            problems=follower.problems,
            is_level=follower.is_level,
            bootstrap_servers=settings.bootstrap_servers,
            data_dir=settings.data_dir,
        )


def as_markup(value: object) -> object:
    """What every expression of a template gives: texts with marks for what cannot be seen."""
    return shown_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def link(path: str, **query: object) -> Markup:
    """An address of ours, for an attribute; what is empty is left out."""
    given = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "")}
    return escape(f"{path}?{urlencode(given)}" if given else path)


def _number(value: Any) -> str:
    """Figures of a training are what its script wrote: any JSON, and that may be no number."""
    if value is None or isinstance(value, str | Sequence | Mapping):
        return NOTHING
    return number(value) if abs(value) <= sys.float_info.max else NOTHING


def _time(value: datetime | None) -> Markup:
    if value is None:
        return escape(NOTHING)
    shown = shown_time(value)
    text = shown.replace("T", " ").removesuffix("Z")
    return Markup('<time datetime="{}">{} UTC</time>').format(shown, text)
