"""The command line as a whole: help, usage errors, exit codes."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pairstream.__main__ import COMMANDS, cli
from schemas.settings import SECRETS
from tests.conftest import Pairstream
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish

# Contract, section 6; `schema` is ours.
CONTRACT = {
    "demo", "broker", "topics", "ingest", "worker", "trainer", "replay", "train", "status", "dlt",
    "explain",
}  # fmt: skip


def leaves(
    path: tuple[str, ...], command: click.Command
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves((*path, name), inner)
    else:
        yield path, command


def commands_of(name: str) -> dict[tuple[str, ...], click.Command]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return dict(leaves((name,), command))


def float_options() -> list[click.Parameter]:
    return [
        option
        for name in COMMANDS
        for command in commands_of(name).values()
        for option in command.params
        if isinstance(option.type, click.types.FloatParamType)
    ]


def help_of(*path: str) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_are_those_of_the_contract() -> None:
    more = {
        "bridge",
        "dataset",
        "forget",
        "schema",
        "verify",
        "spool",
        "models",
        "reproduce",
        "trainings",
        "ui",
        "tail",
        "doctor",
        "completion",
    }

    assert set(COMMANDS) == CONTRACT | more


def test_help_lists_every_command() -> None:
    listed = help_of()

    for name, summary in COMMANDS.items():
        assert name in listed
        assert summary.split(",")[0] in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example_that_begins_with_its_name(name: str) -> None:
    assert "Usage: " in help_of(name)
    for path in commands_of(name):
        _, _, example = help_of(*path).partition("Example")

        assert "pairstream " + " ".join(path) in example


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained_and_no_secret_is_one(name: str) -> None:
    for command in commands_of(name).values():
        options = [p for p in command.params if isinstance(p, click.Option)]

        assert [option.name for option in options if not option.help] == []
        assert SECRETS.isdisjoint({option.name for option in options})


@pytest.mark.parametrize("name", ["worker", "trainer", "topics"])
def test_defaults_in_the_help_can_be_typed_as_they_stand(name: str) -> None:
    for path in commands_of(name):
        defaults = re.findall(r"\[default:\s+([^\]]*)\]", help_of(*path))

        assert defaults
        assert [default for default in defaults if re.match(r"[0-9.]+e", default)] == []


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_secret_is_no_flag(secret: str) -> None:
    flag = "--" + secret.replace("_", "-")
    result = CliRunner().invoke(cli, ["worker", flag, "x"])

    assert result.exit_code == 2
    assert "No such option" in result.output


BAD_FILES = {
    "misspelt": ("triger-pairs = 5", "triger-pairs", "trigger-pairs"),
    "wrong": ("batch-records = 0", "batch-records", ">= 1"),
    "no TOML": ("batch-records", "bad.toml", "cannot be read"),
}


@pytest.mark.parametrize(("content", "named", "said"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_worker_with_a_bad_file_exits_with_2_and_one_line(
    pairstream: Pairstream, tmp_path: Path, content: str, named: str, said: str
) -> None:
    (tmp_path / "bad.toml").write_text(content)
    done = pairstream("worker", "--config", "bad.toml", check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("pairstream: ")
    assert named in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["sing"], ["worker", "--sing"], ["topics", "sing"], ["trainer", "--launcher", "podman"]],
)
def test_wrong_usage_exits_with_2(pairstream: Pairstream, arguments: list[str]) -> None:
    done = pairstream(*arguments, check=False)

    assert done.returncode == 2
    assert "Error: " in done.stderr


@pytest.mark.parametrize("arguments", [["broker"], ["schema"], ["completion", "bash"]])
def test_what_has_no_settings_refuses_a_misspelt_one_too(
    pairstream: Pairstream, arguments: list[str]
) -> None:
    known = {"PAIRSTREAM_SPOOL_DIR": "spool", "PAIRSTREAM_TOPIC_PREFIX": "t."}
    done = pairstream(*arguments, env={**known, "PAIRSTREAM_FOO": "1"}, check=False)

    assert done.returncode == 2
    assert done.stderr == "pairstream: PAIRSTREAM_FOO is no setting\n"


@pytest.mark.parametrize("command", ["explain", "forget"])
def test_an_argument_that_is_no_text_exits_with_2_and_one_line(
    pairstream: Pairstream, embedded_broker: str, prefix: str, command: str
) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker, "PAIRSTREAM_TOPIC_PREFIX": prefix}
    pairstream("topics", "apply", "--partitions", "1", env=env)

    done = pairstream(command, "r-\udcff", env=env, check=False)

    assert done.returncode == 2
    assert done.stderr == ("pairstream: the argument 'r-\\udcff' is no UTF-8: write it in UTF-8\n")


def test_broker_that_is_not_there_exits_with_1_and_one_line(pairstream: Pairstream) -> None:
    done = pairstream(
        "topics", "apply", "--bootstrap-servers", "127.0.0.1:1", "--wait", "0.1", check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("pairstream: ")
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_misspelt_command_is_told_the_nearest_one(pairstream: Pairstream) -> None:
    done = pairstream("trainr", check=False)

    assert done.returncode == 2
    assert "Did you mean trainer?" in done.stderr


@pytest.mark.parametrize("place", ["/proc/nowhere", "{file}/nowhere"])
def test_a_folder_that_cannot_be_made_exits_with_1_and_one_line(
    place: str, tmp_path: Path, pairstream: Pairstream
) -> None:
    file = tmp_path / "file"
    file.touch()
    done = pairstream("demo", "--data-dir", place.format(file=file), check=False)

    [line] = [line for line in done.stderr.splitlines() if "cannot be used" in line]
    assert done.returncode == 1
    assert line.startswith("pairstream: /")
    assert "Traceback" not in done.stderr


def test_what_is_no_number_and_what_never_ends_is_refused() -> None:
    options = float_options()

    assert {option.name for option in options} >= {"wait", "watch", "quiet_seconds", "tolerance"}
    for option in options:
        for value in ("nan", "inf", "-1", "1e999"):
            with pytest.raises(click.BadParameter):
                option.type.convert(value, option, None)


@pytest.mark.parametrize("command", ["trainer", "train {dataset} --launcher process"])
def test_a_base_model_that_is_not_named_is_a_wrong_setting(
    command: str, tmp_path: Path, pairstream: Pairstream
) -> None:
    dataset = publish(tmp_path, make_pairs(3)).datasets / "ds-000001"
    words = command.format(dataset=dataset).split()
    done = pairstream(*words, "--data-dir", tmp_path / "other", check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("pairstream: no base model is set: set PAIRSTREAM_BASE_MODEL")
