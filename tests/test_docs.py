"""README and docs say what the code says: links, commands, tables, names, examples.

`python -m tests.test_docs` prints the tables that are made from the code, to be pasted.
"""

import ast
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import orjson
import pytest
import yaml

import docs_reference
from docs_site import on_page_markdown
from pairstream.__main__ import COMMANDS, cli
from pairstream.moments import MomentType
from schemas import dead_letters, events, rows
from schemas.acls import COMMANDS as COMMANDS_OF
from schemas.acls import ROLES
from schemas.settings import ENVIRONMENT_PREFIX, SETTINGS_CLASSES
from schemas.topics import DAY_MS, FOR_EVER, TOPICS, Names, Topic
from streams import partition, runs
from tests.pages.reading import FENCE, HEADING, PAGES, README, ROOT, TEXTS
from trainer.recipe import PREFIX, recipe_names
from trainer.train_dpo.arguments import parse_arguments
from trainer.training_manifest import EXIT_MEANINGS, TrainingManifest

EXAMPLES = ROOT / "schemas" / "examples"

IN_PROSE = re.compile(r"`(pairstream [^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NOT_OURS = re.compile(r"https?:|#")
ENDS_A_COMMAND = {"|", "||", "&", "&&", ";", ">", ">>", "<"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block."""
    return ((match[2], match[3]) for match in FENCE.finditer(text))


def without_blocks(text: str) -> str:
    return FENCE.sub("", text)


# --- Pages ---------------------------------------------------------------------------------------


def test_the_pages_are_there() -> None:
    names = {path.stem for path in PAGES}

    assert {
        "concepts",
        "datasets",
        "events-and-rows",
        "guarantees",
        "operations",
        "privacy",
        "runbook",
        "security",
        "settings",
        "training",
    } <= names


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_can_be_read_at_a_sitting(path: Path) -> None:
    assert 80 <= len(path.read_text().splitlines()) <= 180


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    links = LINK.findall(without_blocks(path.read_text()))
    targets = [link for link in links if not NOT_OURS.match(link)]

    assert targets
    for target in targets:
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve()
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(found.read_text()), target


def test_each_page_stands_once_in_the_nav_of_the_site() -> None:
    entries = list(entries_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))

    assert sorted(entries) == sorted([*(path.name for path in PAGES), *docs_reference.PAGES])


@pytest.mark.parametrize(
    ("written", "on_the_site"),
    [
        ("[the client](../client/README.md#settings)", "the client (`client/README.md`)"),
        ("[compose.yaml](../compose.yaml)", "`compose.yaml`"),
        (
            "[concepts](concepts.md) and [b](https://b/)",
            "[concepts](concepts.md) and [b](https://b/)",
        ),
    ],
)
def test_the_site_names_files_that_it_does_not_have(written: str, on_the_site: str) -> None:
    assert on_page_markdown(written, config=None, files=None) == on_the_site


def entries_of(nav: list[dict[str, Any]]) -> Iterator[str]:
    """The pages of mkdocs' nav: titles with a page, or with a nav of their own."""
    for titled in nav:
        for inner in titled.values():
            yield from [inner] if isinstance(inner, str) else entries_of(inner)


def anchors(text: str) -> set[str]:
    """As code hosts make them of headings."""
    headings = HEADING.findall(without_blocks(text))
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_files_and_tests_that_are_named_are_there(path: Path) -> None:
    text = path.read_text()
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))

    for named in re.findall(
        r"(?<![\w/])((?:client/)?(?:tests|trainer|streams|schemas|docker)/[\w/]+\.\w+)", text
    ):
        assert (ROOT / named).exists(), named
    for test in re.findall(r"`(?:[\w/.]*::)?(test_\w+)`", text):
        assert f"def {test}(" in sources, test


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_targets_of_make_that_are_named_are_there(path: Path) -> None:
    known = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(re.findall(r"\bmake ([a-z][a-z-]*)\b(?=[^.a-z-])", code_of(path))) <= set(known)


def code_of(path: Path) -> str:
    """All that stands in blocks and between backticks."""
    text = path.read_text()
    spans = re.findall(r"`([^`\n]+)`", without_blocks(text))
    return "\n".join([*(content for _, content in blocks(text)), *spans, ""])


# --- Commands ------------------------------------------------------------------------------------


def typed(text: str) -> Iterator[str]:
    """Command lines of ours in blocks; where a block shows output too, those after a prompt."""
    for language, content in blocks(text):
        lines = content.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        elif language not in ("", "sh", "bash"):
            continue
        for line in map(str.strip, lines):
            if re.match(r"(\.venv/bin/)?pairstream ", line):
                yield line


def words_of(line: str) -> list[str]:
    """The first command of a line, as a shell would take it apart, without its own name."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((place for place, word in enumerate(words) if word in ENDS_A_COMMAND), len(words))
    return words[1:end]


def check_command(words: Sequence[str], *, whole: bool) -> None:
    """Take the words as the command line would, without running anything.

    `whole`: also what is required must be there, which prose may leave out.

    Raises: click.UsageError.
    """
    command: click.Command = cli
    left = list(words)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        name = left.pop(0)
        inner = command.get_command(click.Context(command), name)
        if inner is None:
            raise click.UsageError(f"no such command: {name}")
        command = inner
    context = click.Context(command)
    values, extra, _ = command.make_parser(context).parse_args(left)
    if extra:
        raise click.UsageError(f"too many arguments: {extra}")
    for parameter in command.params:
        value = values.get(parameter.name or "")
        is_given = parameter.name in values and value not in (None, ()) and not _is_unset(value)
        if whole and parameter.required and not is_given:
            raise click.UsageError(f"missing: {parameter.name}")
        if is_given and isinstance(parameter.type, click.Choice | click.IntRange | MomentType):
            parameter.type_cast_value(context, value)


def _is_unset(value: object) -> bool:
    return type(value).__name__ == "Sentinel"


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_commands_in_blocks_are_commands(path: Path) -> None:
    for line in typed(path.read_text()):
        check_command(words_of(line), whole=True)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_commands_in_prose_are_commands(path: Path) -> None:
    for line in IN_PROSE.findall(without_blocks(path.read_text())):
        check_command(words_of(line), whole=False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("pairstream sing", "no such command"),
        ("pairstream trainer --trigger 5", "No such option"),
        ("pairstream trainer --launcher podman", "podman"),
        ("pairstream explain", "missing: run_id"),
        ("pairstream status now", "too many arguments"),
        ("pairstream replay --from pairs", "missing: out"),
        ("pairstream broker --port many | cat", "many"),
    ],
)
def test_a_command_that_would_fail_is_found(line: str, why: str) -> None:
    with pytest.raises(click.UsageError) as error:
        check_command(words_of(line), whole=True)

    assert why in error.value.format_message()


@pytest.mark.parametrize(
    "line",
    ["pairstream ingest a.jsonl b.jsonl && true", "pairstream broker --port 9092 &  # for now"],
)
def test_a_command_that_would_not_fail_is_let_be(line: str) -> None:
    check_command(words_of(line), whole=True)


def test_blocks_hold_commands() -> None:
    """Else the tests above would hold of nothing."""
    found = [line for path in TEXTS for line in typed(path.read_text())]

    assert len(found) >= 10
    assert {"worker", "trainer", "status", "replay"} <= {words_of(line)[0] for line in found}


def test_every_command_is_in_the_docs() -> None:
    text = "".join(map(code_of, PAGES))

    for name in COMMANDS:
        inner = cli.get_command(click.Context(cli), name)
        names = (
            [f"{name} {each}" for each in inner.commands]
            if isinstance(inner, click.Group)
            else [name]
        )
        for each in names:
            assert f"pairstream {each}" in text


# --- Tables made from the code -------------------------------------------------------------------


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows_of_text = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return "\n".join([rows_of_text[0], "|---" * len(head) + "|", *rows_of_text[1:]])


def topics_table() -> str:
    head = ["topic", "key", "values", "kept", "what is in it"]
    return table(head, [_topic_line(topic) for topic in TOPICS])


def _topic_line(topic: Topic) -> list[str]:
    values = ", ".join(value.__name__ for value in topic.values) or "the bytes as they came"
    kept = "for ever" if topic.retention_ms == FOR_EVER else f"{topic.retention_ms // DAY_MS} days"
    return [f"`{topic.name}`", topic.key, values, kept, topic.about]


def acls_table() -> str:
    """Needs that differ in their names alone stand in one line."""
    lines = []
    for role, needs in ROLES.items():
        who = f"**{role}**: {COMMANDS_OF[role]}"
        for (resource, operations, why), group in groupby(
            needs, key=lambda need: (need.resource, need.operations, need.why)
        ):
            names = ", ".join(f"`{need.name(Names())}`" for need in group)
            lines.append([who, f"{resource} {names}", ", ".join(operations), why])
            who = ""
    return table(["role", "resource", "operations", "why"], lines)


# Who reads the settings that a class adds to those of its bases.
READERS = {
    "KafkaSettings": "all",
    "TopicSettings": "`topics apply`, `bridge`",
    "PairingSettings": "worker, `replay`",
    "GarblingSettings": "worker, `replay`",
    "WorkerSettings": "worker",
    "DataSettings": "trainer",
    "DatasetSettings": "trainer, `replay`",
    "RecipeSettings": "trainer",
    "TrainingSettings": "trainer",
    "TrainerSettings": "trainer",
    "UiSettings": "`ui`",
}


def settings_table() -> str:
    fields: dict[str, tuple[str, msgspec.structs.FieldInfo]] = {}
    for last in SETTINGS_CLASSES:
        for cls in reversed(last.__mro__):
            if cls.__name__ in READERS:
                reader = READERS[cls.__name__]
                for field in msgspec.structs.fields(cls):
                    if field.name not in fields:
                        fields[field.name] = (reader, field)
                    # Two processes may each have a setting of the same name.
                    elif field.name in cls.__annotations__ and reader not in fields[field.name][0]:
                        fields[field.name] = (f"{fields[field.name][0]}, {reader}", field)
    # The recipe's are the script's flags, which the page of trainings explains one by one.
    recipe = recipe_names()
    lines = [
        _setting_line(field, reader)
        for name, (reader, field) in fields.items()
        if name not in recipe
    ]
    return table(["variable", "default", "for", "meaning"], lines)


def _setting_line(field: msgspec.structs.FieldInfo, reader: str) -> list[str]:
    meaning = next(
        meta.description for meta in field.type.__metadata__ if getattr(meta, "description", None)
    )
    choices = ", ".join(f"`{choice}`" for choice in _choices(field.type))
    also = f" One of {choices}." if "," in choices else ""
    variable = f"`{ENVIRONMENT_PREFIX}{field.name.upper()}`"
    return [variable, _default(field.default), reader, meaning + also]


def _choices(annotated: object) -> list[str]:
    info = msgspec.inspect.type_info(annotated)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    literals = [member for member in members if isinstance(member, msgspec.inspect.LiteralType)]
    return [str(value) for literal in literals for value in literal.values]


def _default(value: object) -> str:
    if value is None or value == "":
        return "none" if value is None else "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f"`{text}`"


def flag_starts() -> list[str]:
    """How the line of each flag of the training script begins: its name and its default."""
    required = ["--dataset", "--base-model", "--output"]
    parsed = parse_arguments([word for flag in required for word in (flag, "x")])
    flags = {"--" + name.replace("_", "-"): value for name, value in vars(parsed).items()}
    return [
        f"| `{flag}` | {'required' if flag in required else _default(value)} |"
        for flag, value in flags.items()
    ]


def test_topics_are_those_of_the_code() -> None:
    assert topics_table() in page("events-and-rows"), f"it should hold:\n{topics_table()}"


def test_acls_are_those_of_the_code() -> None:
    assert acls_table() in page("security"), f"it should hold:\n{acls_table()}"


def test_settings_are_those_of_the_code() -> None:
    assert settings_table() in page("settings"), f"it should hold:\n{settings_table()}"


def test_every_class_of_settings_has_a_reader() -> None:
    classes = {cls for last in SETTINGS_CLASSES for cls in last.__mro__}

    names = {cls.__name__ for cls in classes if issubclass(cls, msgspec.Struct)}
    assert names - {"Struct"} == set(READERS)


def test_every_setting_of_the_recipe_is_a_flag_that_is_explained() -> None:
    flags = {"--" + name.removeprefix(PREFIX).replace("_", "-") for name in recipe_names()}

    assert flags <= {start.split("`")[1] for start in flag_starts()}


@pytest.mark.parametrize("start", flag_starts())
def test_flags_of_the_training_script_are_those_of_the_code(start: str) -> None:
    assert f"\n{start}" in page("training")


# --- Words of the contract -----------------------------------------------------------------------

EXIT_CODES = {0, 2, *EXIT_MEANINGS}

LETTER_REASONS = (
    events.INVALID_EVENT,
    rows.INVALID_ROW,
    runs.CONFLICTING_ATTEMPT,
    runs.CONFLICTING_STRATEGY,
    runs.CONFLICTING_START,
    runs.CONFLICTING_SCORE,
    partition.RUN_SETTLED,
)

ROW_TYPES = (rows.Pair, rows.ScoredRow, rows.Outcome, rows.GarbleRequest, rows.TrainingStep)


@pytest.mark.parametrize("code", sorted(EXIT_CODES))
def test_every_exit_code_of_a_training_is_explained(code: int) -> None:
    assert f"\n| {code} |" in page("training")


@pytest.mark.parametrize("reason", LETTER_REASONS)
def test_every_reason_of_a_dead_letter_is_explained(reason: str) -> None:
    assert f"\n| `{reason}` |" in page("events-and-rows")


def test_no_other_reason_is_given_to_a_dead_letter() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "streams").glob("*.py"))
    sources += "".join(path.read_text() for path in (ROOT / "schemas").glob("*.py"))
    ends = "event|row|attempt|strategy|start|score|settled"
    named = set(re.findall(rf'^([A-Z_]+) = "\w+_(?:{ends})"$', sources, re.MULTILINE))

    assert len(named) == len(LETTER_REASONS)
    raised = set(re.findall(r"InvalidRecord\((\w+),", sources))
    assert raised - named <= {"reason"}


def test_every_header_of_a_dead_letter_is_explained() -> None:
    text = page("events-and-rows")

    for header in (dead_letters.TOPIC, dead_letters.PARTITION, dead_letters.OFFSET,
                   dead_letters.STAGE, dead_letters.REASON, dead_letters.MESSAGE,
                   dead_letters.CONNECTOR):  # fmt: skip
        assert f"`{header}`" in text


@pytest.mark.parametrize("reason", get_args(rows.DiscardReason))
def test_every_reason_of_a_discarded_run_is_explained(reason: str) -> None:
    assert f"`discarded`, `{reason}`" in page("concepts")


@pytest.mark.parametrize("word", [*get_args(rows.PairRule), *get_args(rows.ScoredRowKind)])
def test_every_rule_and_kind_is_explained(word: str) -> None:
    assert f"`{word}`" in page("concepts")


@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("events-and-rows", kind) for kind in (*events.EVENT_TYPES, *ROW_TYPES, events.Prompts)),
     ("training", TrainingManifest)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)  # fmt: skip
def test_every_field_is_explained(name: str, kind: type[msgspec.Struct]) -> None:
    text = page(name)

    assert [field for field in kind.__struct_fields__ if f"`{field}`" not in text] == []


def test_examples_are_the_golden_ones() -> None:
    golden = [orjson.loads(path.read_bytes()) for path in EXAMPLES.glob("*/*.json")]
    shown = [
        orjson.loads(line)
        for language, content in blocks(page("events-and-rows"))
        if language == "json"
        for line in re.split(r"\n(?=\{)", content)
    ]

    assert len(shown) >= len(events.EVENT_TYPES)
    assert [each for each in shown if each not in golden] == []
    assert {each["type"] for each in shown if "type" in each} == {
        str(kind.__struct_config__.tag) for kind in events.EVENT_TYPES
    }


# --- Error lines ---------------------------------------------------------------------------------


def texts_of(package: str) -> list[str]:
    """Every text in the sources of a package; those with values in them in parts."""
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / package).rglob("*.py"))]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_error_lines_are_those_of_the_code() -> None:
    """Lines of the table of errors begin with the words of an error, `…` where a value stands."""
    _, _, after = page("runbook").partition("| the line says | what to do |\n|---|---|\n")
    lines = after.partition("\n\n")[0].splitlines()
    known = [text for package in ("trainer", "pairstream", "streams") for text in texts_of(package)]

    messages = [each for line in lines for each in re.findall(r"`([^`]+)`", line.split(" | ")[0])]
    assert len(messages) >= 10
    for part in (part.strip() for message in messages for part in message.split("…")):
        assert any(part in text for text in known), part


if __name__ == "__main__":
    sys.stdout.write(
        "\n\n".join([topics_table(), settings_table(), acls_table(), *flag_starts(), ""])
    )
