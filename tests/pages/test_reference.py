"""The reference on the site is made from the code, whole; and the site can be built."""

import html
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import docs_reference
from pairstream.__main__ import cli
from schemas.documents import ROW_TYPES
from schemas.events import EVENT_TYPES
from tests.conftest import missing
from tests.operations.test_monitoring import served
from tests.pages.reading import ROOT

pytestmark = pytest.mark.long

BUILD_SECONDS = 200

PAGES = [name.removesuffix(".md") for name in docs_reference.PAGES]


def all_commands(
    group: click.Group = cli, path: str = "pairstream"
) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{path} {name}")


@cache
def commands() -> str:
    return docs_reference.commands()


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of any kind."""
    begin = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert begin, heading
    return re.split(r"^#+ ", text[begin.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def named(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("path", "command"), list(all_commands()), ids=named)
def test_a_command_has_its_usage_its_help_and_each_of_its_flags(
    path: str, command: click.Command
) -> None:
    shown = section(commands(), f"`{path}`")

    assert f"\n{path} " in shown
    assert (command.help or "").split()[:5] == shown.split("```")[2].split()[:5]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert all(name in shown for name in parameter.opts), parameter.opts


def test_there_are_commands() -> None:
    assert len(list(all_commands())) >= 40


@pytest.mark.parametrize("kind", [*EVENT_TYPES, *ROW_TYPES], ids=lambda kind: kind.__name__)
def test_an_event_or_row_has_each_of_its_fields(kind: type) -> None:
    config = kind.__struct_config__  # type: ignore[attr-defined]
    shown = section(docs_reference.fields(), str(config.tag or kind.__name__))

    assert re.findall(r"^\| `(\w+)` ", shown, re.MULTILINE) == [
        *(["type"] if config.tag else []),
        *kind.__struct_fields__,  # type: ignore[attr-defined]
    ]


def test_every_metric_that_is_served_is_there() -> None:
    names = {line[0].strip("`") for line in docs_reference.metric_lines()}

    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in served()}
    # A counter's family is named without its ending.
    assert families - {name.removesuffix("_total") for name in names} <= names
    assert names <= families


def test_the_page_of_monitoring_has_the_metrics_of_the_code() -> None:
    """Each of them, with who tells it; and none that is not there."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    _, _, after = text.partition("| metric | of | meaning |\n|---|---|---|\n")
    shown = {
        name: services
        for line in after.partition("\n\n")[0].splitlines()
        for names, services, _ in [line.strip("| ").split(" | ", 2)]
        for name in re.findall(r"`(\w+)`", names)
    }

    told = {line[0].strip("`"): line[1] for line in docs_reference.metric_lines()}
    assert shown.keys() == told.keys()
    both = {"both": "worker, trainer"}
    for name, services in shown.items():
        # What each process has its own of stands in one line.
        assert services == "each" or both.get(services, services) == told[name], name


@pytest.mark.long
def test_the_site_is_built_and_has_it_all(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        missing("needs mkdocs: pip install --group docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, timeout=BUILD_SECONDS, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-4000:]
    shown = {name: text_of(tmp_path / name / "index.html") for name in PAGES}
    for path, command in all_commands():
        assert f"\n{path} " in shown["commands"]
        flags = [each.opts[0] for each in command.params if isinstance(each, click.Option)]
        assert [flag for flag in flags if flag not in shown["commands"]] == []
    for kind in (*EVENT_TYPES, *ROW_TYPES):
        config = kind.__struct_config__
        assert f">{config.tag or kind.__name__}<" in (tmp_path / "fields/index.html").read_text()
        assert all(field in shown["fields"] for field in kind.__struct_fields__)
    for line in docs_reference.metric_lines():
        assert line[0].strip("`") in shown["metrics"]


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))
