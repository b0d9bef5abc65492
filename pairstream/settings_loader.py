"""Reads settings: defaults, then a file, then the environment, then flags."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from schemas.errors import InvalidSettings
from schemas.printable import is_utf8
from schemas.settings import (
    ENVIRONMENT_PREFIX,
    SECRET_FILE_SUFFIX,
    SECRETS,
    convert,
    known_settings,
)

S = TypeVar("S", bound=msgspec.Struct)

# Variables of ours that are no settings; those of the spool are the client library's.
NO_SETTINGS = frozenset({"crash_point", "log_level", "spool_dir", "spool_fsync", "spool_max_bytes"})

LOG_LEVEL = "PAIRSTREAM_LOG_LEVEL"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def load(cls: type[S], file: Path | None, flags: Mapping[str, object]) -> S:
    """Typed settings of one process.

    Args:
        flags: by setting name; None where the flag was not given.

    Raises: InvalidSettings that names the setting as the user wrote it.
    """
    settings, problems = load_what_holds(cls, file, flags)
    if problems:
        raise problems[0]
    return settings


def check_variables() -> None:
    """For a command that has no settings. Raises: InvalidSettings for a misspelt one."""
    problems: list[InvalidSettings] = []
    _from_environment(problems)
    if problems:
        raise problems[0]


def log_level() -> str:
    """Raises: InvalidSettings."""
    said = os.environ.get(LOG_LEVEL) or "INFO"
    if said.upper() not in LOG_LEVELS:
        raise InvalidSettings(f"{LOG_LEVEL}: {said!a} is none of {', '.join(LOG_LEVELS)}")
    return said.upper()


def load_what_holds(
    cls: type[S], file: Path | None, flags: Mapping[str, object]
) -> tuple[S, list[InvalidSettings]]:
    """The settings, each that is wrong left at its default, and what is wrong with these."""
    names = {field.name for field in msgspec.structs.fields(cls)}
    values: dict[str, object] = {}
    written: dict[str, str] = {}
    problems: list[InvalidSettings] = []
    for source in (_from_file(file, problems), _from_environment(problems), _from_flags(flags)):
        for name, (value, as_written) in source.items():
            if name not in names:
                continue
            if isinstance(value, str) and not is_utf8(value):
                problems.append(InvalidSettings(f"{as_written} is no UTF-8: write it in UTF-8"))
                continue
            values[name] = value
            written[name] = as_written
        for name in sorted(SECRETS & names):
            try:
                in_file = _secret_file(name, source)
            except InvalidSettings as problem:
                problems.append(problem)
                continue
            if in_file is not None:
                values[name], written[name] = in_file
    return _converted(cls, values, written, problems), problems


def _converted(
    cls: type[S],
    values: dict[str, object],
    written: Mapping[str, str],
    problems: list[InvalidSettings],
) -> S:
    """Without the values that are none, which it takes out and adds to what is wrong."""
    types = {field.name: field.type for field in msgspec.structs.fields(cls)}
    while True:
        try:
            return convert(values, cls)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$.")
            name = path.rstrip("`")
            if name not in values:
                raise InvalidSettings(str(error)) from error
            why = _in_plain_words(what, types[name])
            problems.append(InvalidSettings(f"{written[name]}: {why}"))
            del values[name]


def _in_plain_words(what: str, annotated: Any) -> str:
    """What msgspec says of a value, without Python's names of types."""
    wrong_choice = what.partition("Invalid enum value ")[2]
    if wrong_choice:
        return f"{wrong_choice} is none of {', '.join(_choices(annotated))}"
    if "matching regex" in what:
        return f"it has not the form that is wanted: {_description(annotated)}"
    return re.sub(r"`([a-z]+)(?: \| null)?`", lambda found: _WORDS.get(found[1], found[0]), what)


def _secret_file(name: str, source: Mapping[str, tuple[object, str]]) -> tuple[object, str] | None:
    """The secret in the file that `NAME_file` names. The end of its line is none of it; blanks
    are.
    """
    path, as_written = source.get(name + SECRET_FILE_SUFFIX, (None, ""))
    if path is None:
        return None
    if name in source:
        raise InvalidSettings(f"{source[name][1]} and {as_written} are both set: keep one")
    if not path:
        raise InvalidSettings(f"{as_written} names no file")
    try:
        return Path(str(path)).read_text().rstrip("\r\n"), as_written
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            f"{as_written}: {path} cannot be read ({type(error).__name__})"
        ) from error


def _from_file(file: Path | None, problems: list[InvalidSettings]) -> dict[str, tuple[object, str]]:
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(InvalidSettings(f"{file} cannot be read: {error}"))
        return {}
    found: dict[str, tuple[object, str]] = {}
    for key, as_written, value in _flat(content):
        name = key.replace("-", "_")
        if name in found:
            both = f"{found[name][1]}, and {as_written}"
            problems.append(InvalidSettings(f"{both}, are the same setting: keep one"))
        elif name in _known():
            found[name] = (value, f"{as_written} in {file}")
        else:
            problems.append(_misspelt(name, f"{as_written} in {file}", key, "-"))
    return found


def _flat(content: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    """Keys as without tables, as they were written, and values: `beta` of `[training]` is
    `training-beta`.
    """
    for key, value in content.items():
        if isinstance(value, dict):
            yield from ((f"{key}-{inner}", f"[{key}] {inner}", v) for inner, v in value.items())
        else:
            yield key, key, value


def _from_environment(problems: list[InvalidSettings]) -> dict[str, tuple[object, str]]:
    """An empty variable counts as none: compose files hand on what nobody has set."""
    try:
        log_level()
    except InvalidSettings as problem:
        problems.append(problem)
    found: dict[str, tuple[object, str]] = {}
    for variable, value in os.environ.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if not variable.startswith(ENVIRONMENT_PREFIX) or name in NO_SETTINGS:
            continue
        if name in _known():
            if value:
                found[name] = (value, variable)
        else:
            problems.append(_misspelt(name, variable, variable, "_"))
    return found


def _from_flags(flags: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    return {
        name: (value, "--" + name.replace("_", "-"))
        for name, value in flags.items()
        if value is not None
    }


@cache
def _known() -> frozenset[str]:
    return known_settings() | {secret + SECRET_FILE_SUFFIX for secret in SECRETS}


def _misspelt(name: str, where: str, as_written: str, joiner: str) -> InvalidSettings:
    near = difflib.get_close_matches(name, _known(), n=1)
    hint = ""
    if near:
        better = near[0].replace("_", joiner)
        better = ENVIRONMENT_PREFIX + better.upper() if as_written.isupper() else better
        hint = f"; did you mean {better}?"
    return InvalidSettings(f"{where} is no setting{hint}")


def settings_options(*classes: type[msgspec.Struct]) -> Callable[[Any], Any]:
    """Flags for every setting of the classes, and `--config`; of secrets, for the files that they
    are in alone.
    """

    def decorate(command: Any) -> Any:
        fields = {field.name: field for cls in classes for field in msgspec.structs.fields(cls)}
        for field in reversed(list(fields.values())):
            option = _file_option if field.name in SECRETS else _option
            command = option(field)(command)
        return click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="A TOML file of settings, named like the flags; [training] saves their prefix.",
        )(command)

    return decorate


def _file_option(field: msgspec.structs.FieldInfo) -> Callable[[Any], Any]:
    name = field.name + SECRET_FILE_SUFFIX
    secret = field.name.replace("_", "-")
    help_text = f"A file with what the setting {secret} is, which has no flag."
    return click.option("--" + name.replace("_", "-"), name, default=None, help=help_text,
                        metavar="FILE")  # fmt: skip


def _option(field: msgspec.structs.FieldInfo) -> Callable[[Any], Any]:
    flag = "--" + field.name.replace("_", "-")
    help_text = _description(field.type)
    if field.default not in (None, msgspec.NODEFAULT, ""):
        help_text += f"  [default: {_shown(field.default)}]"
    if isinstance(field.default, bool):
        return click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None, help=help_text)
    choices = _choices(field.type)
    kind = click.Choice(choices) if choices else None
    metavar = None if choices else _metavar(field)
    return click.option(flag, field.name, default=None, help=help_text, metavar=metavar, type=kind)


def _metavar(field: msgspec.structs.FieldInfo) -> str:
    last = field.name.rpartition("_")[2]
    if last in ("seconds", "bytes"):
        return last.upper()
    if isinstance(field.default, int | float):
        return "NUMBER"
    return {"location": "FILE", "dir": "FOLDER", "cpus": "NUMBER"}.get(last, last.upper())


def _shown(value: object) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _description(annotated: Any) -> str:
    return next(
        (
            meta.description
            for meta in getattr(annotated, "__metadata__", ())
            if isinstance(meta, msgspec.Meta) and meta.description
        ),
        "",
    )


def _choices(annotated: Any) -> list[str]:
    info = msgspec.inspect.type_info(annotated)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return [
        str(value)
        for member in members
        if isinstance(member, msgspec.inspect.LiteralType)
        for value in member.values
    ]
