"""Pages of the site that are made from the code whenever it is built; no file holds them."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from pairstream.__main__ import cli
from schemas.documents import ROW_TYPES, json_schemas
from schemas.events import EVENT_TYPES
from schemas.metrics import Lag, new_registry
from schemas.settings import TrainerSettings, WorkerSettings
from streams.vitals import WorkerVitals
from trainer.vitals import TrainerVitals

PROGRAM = "pairstream"

# Everything but what stands between backticks.
PROSE = re.compile(r"(`[^`]*`)|([<*\[\]|])")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return "\n".join([rows[0], "|---" * len(head) + "|", *rows[1:]])


def prose(text: str) -> str:
    """Marks that mean something in Markdown as they are, but for backticks."""
    return PROSE.sub(lambda found: found[1] or (found[2] and f"&#{ord(found[2])};"), text)


# --- Commands ------------------------------------------------------------------------------------

COMMANDS_HEAD = f"""\
# Commands

Every command and its flags, made from the code, as `--help` shows them. What they are for stands in the pages of the how-to part; what each flag of a setting is called in a file and in the environment, in [settings](settings.md).

`{PROGRAM} --version` says which one this is; each command has `-h` and `--help`.
"""  # noqa: E501 - a paragraph is a line here


def commands() -> str:
    context = click.Context(cli, info_name=PROGRAM)
    about = [f"## `{PROGRAM}`", help_of(cli, context)]
    return "\n\n".join([COMMANDS_HEAD, *about, *_commands_of(cli, context)]) + "\n"


def _commands_of(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        depth = "##" if parent.parent is None else "###"
        yield f"{depth} `{context.command_path}`"
        yield help_of(command, context)
        if isinstance(command, click.Group):
            yield from _commands_of(command, context)


def help_of(command: click.Command, context: click.Context) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"```text\n{usage}\n```", *map(_paragraph, _paragraphs(command.help or ""))]
    records = [
        record
        for parameter in command.get_params(context)
        if parameter.name != "help" and (record := parameter.get_help_record(context))
    ]
    if records:
        lines = [[f"`{names}`", prose(" ".join(about.split()))] for names, about in records]
        parts.append(table(["flag", "meaning"], lines))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> list[str]:
    return re.split(r"\n\s*\n", inspect.cleandoc(text)) if text else []


def _paragraph(text: str) -> str:
    """What click leaves as it is written (after \\b) stands as it is written here too."""
    mark, _, kept = text.partition("\n")
    return f"```text\n{kept}\n```" if mark.strip() == "\b" else prose(text)


# --- Events and rows -----------------------------------------------------------------------------

FIELDS_HEAD = """\
# Fields

Every event and row with its fields, made from the types by which they are decoded. What they mean together, with examples, stands in [events and rows](events-and-rows.md); `pairstream schema` prints the same as JSON Schemas, `pairstream schema --format asyncapi` as an AsyncAPI document.
"""  # noqa: E501


def fields() -> str:
    definitions: dict[str, Any] = json_schemas()["$defs"]
    events = {kind.__name__: str(kind.__struct_config__.tag) for kind in EVENT_TYPES}
    rows = {kind.__name__: kind.__name__ for kind in ROW_TYPES}
    parts = {name: name for name in definitions if name not in events and name not in rows}
    sections = [FIELDS_HEAD]
    for head, titles in (("Events", events), ("Rows", rows), ("Parts of them", parts)):
        sections.append(f"## {head}")
        sections += [_definition(title, definitions[name]) for name, title in titles.items()]
    return "\n\n".join(sections) + "\n"


def _definition(title: str, schema: Mapping[str, Any]) -> str:
    lines = [
        [
            f"`{name}`",
            type_text(field),
            "always" if name in schema["required"] else "may be missing",
            prose(_meaning(field)),
        ]
        for name, field in schema["properties"].items()
    ]
    about = [prose(text) for text in _paragraphs(schema.get("description", ""))]
    return "\n\n".join(
        [f"### {title}", *about, table(["field", "type", "there", "meaning"], lines)]
    )


def _meaning(schema: Mapping[str, Any]) -> str:
    """Of a field, or of what it is where it is not null."""
    inner = (each.get("description", "") for each in schema.get("anyOf", ()))
    return str(schema.get("description") or next(filter(None, inner), ""))


def type_text(schema: Mapping[str, Any]) -> str:
    """A JSON Schema of ours in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(type_text, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {type_text(schema['items'])}"
    bounds = list(_bounds(schema))
    return str(schema["type"]) + (f" ({', '.join(bounds)})" if bounds else "")


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "format" in schema:
        yield schema["format"]
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"
    for least, most, of in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        if least in schema and most in schema:
            yield f"{schema[least]} to {schema[most]}{of}"
        elif least in schema:
            yield f"{schema[least]} or more{of}"


# --- Metrics -------------------------------------------------------------------------------------

METRICS_HEAD = """\
# Metrics

Every metric of `/metrics`, made from the code that counts. What to watch of them, and what to do when an alert fires, stands in [monitoring](monitoring.md#metrics).
"""  # noqa: E501


def metrics() -> str:
    head = ["metric", "of", "kind", "labels", "meaning"]
    return f"{METRICS_HEAD}\n{table(head, metric_lines())}\n"


def metric_lines() -> list[list[str]]:
    """By name: who tells it, what it is, and its labels."""
    # A process tells a lag once it has partitions; this one shows the labels before.
    a_lag = new_registry("any", lambda: [Lag("topic", 0, "group", 0)])
    registries = {
        "worker": WorkerVitals(WorkerSettings()).registry,
        "trainer": TrainerVitals(TrainerSettings()).registry,
    }
    labels = {family.name: _labels(family) for family in a_lag.collect()}
    found: dict[str, tuple[list[str], Any]] = {}
    for service, registry in registries.items():
        for family in registry.collect():
            found.setdefault(family.name, ([], family))[0].append(service)
    return [
        [
            f"`{name}{'_total' if family.type == 'counter' else ''}`",
            ", ".join(services),
            family.type,
            ", ".join(f"`{label}`" for label in _labels(family) or labels.get(name, [])),
            prose(family.documentation),
        ]
        for name, (services, family) in sorted(found.items())
    ]


def _labels(family: Any) -> list[str]:
    """But for those of a histogram's buckets."""
    names = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    return [name for name in names if name != "le"]


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "fields.md": fields,
    "metrics.md": metrics,
}
