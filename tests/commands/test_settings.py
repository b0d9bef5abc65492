"""Contract, section 6: where settings come from, and what is said when one is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.settings_loader import load, settings_options
from schemas.errors import InvalidSettings
from schemas.settings import (
    SECRETS,
    SETTINGS_CLASSES,
    KafkaSettings,
    TopicSettings,
    TrainerSettings,
    WorkerSettings,
)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str) -> Path:
        file = tmp_path / "pairstream.toml"
        file.write_text(content, encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize(
    ("in_file", "in_environment", "as_flag", "expected"),
    [
        (None, None, None, 1000),
        (5, None, None, 5),
        (None, "6", None, 6),
        (None, None, "7", 7),
        (5, "6", None, 6),
        (5, None, "7", 7),
        (None, "6", "7", 7),
        (5, "6", "7", 7),
    ],
)
def test_flags_win_over_environment_over_file_over_defaults(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    in_file: int | None,
    in_environment: str | None,
    as_flag: str | None,
    expected: int,
) -> None:
    file = None if in_file is None else write(f"trigger-pairs = {in_file}\neval-fraction = 0.5")
    if in_environment is not None:
        monkeypatch.setenv("PAIRSTREAM_TRIGGER_PAIRS", in_environment)

    settings = load(TrainerSettings, file, {"trigger_pairs": as_flag, "launcher": None})

    assert settings.trigger_pairs == expected
    assert settings.launcher == "docker"
    assert settings.eval_fraction == (0.1 if file is None else 0.5)


def test_file_holds_every_kind_of_value(write: Write) -> None:
    file = write(
        'topic-prefix = "a."\npairing-extended = true\nrun-timeout-seconds = 60\n'
        'batch-records = 7\nbootstrap-servers = "h\u00f6st:1"\n'
    )
    settings = load(WorkerSettings, file, {})

    assert (settings.topic_prefix, settings.pairing_extended) == ("a.", True)
    assert (settings.run_timeout_seconds, settings.batch_records) == (60.0, 7)
    assert settings.bootstrap_servers == "h\u00f6st:1"


def test_table_saves_the_prefix(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(
        'training-seed = 7\n[training]\nbeta = 0.5\nloss-types = "apo_zero"\nloss_weights = "1"\n'
        'next-round = "merge"\ndeadline-seconds = 60\n'
    )
    monkeypatch.setenv("PAIRSTREAM_TRAINING_LOSS_WEIGHTS", "2")
    settings = load(TrainerSettings, file, {"training_next_round": "continue"})

    assert (settings.training_beta, settings.training_loss_types) == (0.5, "apo_zero")
    assert (settings.training_seed, settings.training_loss_weights) == (7, "2")
    assert settings.training_next_round == "continue"
    assert settings.training_deadline_seconds == 60


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('loss-types = "robust"', "[training] loss-types in "),
        ('loss-types = "sigmoid,"', "[training] loss-types in "),
        ('loss-weights = "1,-1"', "[training] loss-weights in "),
        ("beta = 0", "[training] beta in "),
        ("epochs = inf", "[training] epochs in "),
        ("max-steps = -2", "[training] max-steps in "),
        ('next-round = "best"', "[training] next-round in "),
    ],
)
def test_recipe_that_cannot_be_is_named_as_it_was_written(
    write: Write, line: str, said: str
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(TrainerSettings, write(f"[training]\n{line}"), {})

    assert said in str(refused.value)


def test_flag_that_says_no_wins_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSTREAM_PAIRING_EXTENDED", "true")

    assert load(WorkerSettings, None, {"pairing_extended": None}).pairing_extended
    assert not load(WorkerSettings, None, {"pairing_extended": False}).pairing_extended


def test_one_file_and_environment_serve_every_process(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process reads is no mistake, even where this one would refuse its value."""
    file = write('partitions = 12\ntrigger-pairs = 3\nrun-timeout-seconds = 9\ngarbler = "corrupt"')
    monkeypatch.setenv("PAIRSTREAM_LAUNCHER", "none")

    assert load(TopicSettings, file, {}).partitions == 12
    assert load(WorkerSettings, file, {}).run_timeout_seconds == 9
    assert load(TrainerSettings, file, {}).trigger_pairs == 3
    assert load(KafkaSettings, file, {}) == KafkaSettings()


@pytest.mark.parametrize("variable", ["PAIRSTREAM_CRASH_POINT", "PAIRSTREAM_LOG_LEVEL"])
def test_variables_that_are_no_settings_are_let_be(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "debug")

    assert load(WorkerSettings, None, {}) == WorkerSettings()


MISSPELT = [
    (
        "triger-pairs = 5",
        {},
        ["triger-pairs in ", "pairstream.toml", "did you mean trigger-pairs?"],
    ),
    ("[worker]\nbatch-records = 5", {}, ["[worker] batch-records in ", "pairstream.toml"]),
    (
        "[training]\nbetta = 1",
        {},
        ["[training] betta in ", "did you mean training-beta?"],
    ),
    ("", {"PAIRSTREAM_TRIGER_PAIRS": "5"}, ["TRIGER", "did you mean PAIRSTREAM_TRIGGER_PAIRS?"]),
    ("", {"PAIRSTREAM_XYZZY": "5"}, ["PAIRSTREAM_XYZZY is no setting"]),
    ("", {"PAIRSTREAM_TRIGGER-PAIRS": "5"}, ["PAIRSTREAM_TRIGGER-PAIRS is no setting"]),
    ("", {"PAIRSTREAM_": "5"}, ["PAIRSTREAM_ is no setting"]),
]


@pytest.mark.parametrize(("content", "environment", "said"), MISSPELT)
def test_misspelt_setting_is_named_and_the_near_one_proposed(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    environment: dict[str, str],
    said: list[str],
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSettings) as refused:
        load(WorkerSettings, write(content), {})

    assert [part for part in said if part not in str(refused.value)] == []
    assert "\n" not in str(refused.value)


def test_misspelt_flag_is_named_and_the_near_one_proposed() -> None:
    result = CliRunner().invoke(cli, ["trainer", "--triger-pairs", "5"])

    assert result.exit_code == 2
    assert "--triger-pairs" in result.output
    assert "--trigger-pairs" in result.output


WRONG: list[tuple[str, dict[str, str], dict[str, object], str]] = [
    ("trigger-pairs = 0", {}, {}, "trigger-pairs in "),
    ('trigger_pairs = "many"', {}, {}, "trigger_pairs in "),
    ("trigger-pairs = 1.5", {}, {}, "trigger-pairs in "),
    ("topic-prefix = 5", {}, {}, "topic-prefix in "),
    ("topic-prefix = 2026-11-23", {}, {}, "topic-prefix in "),
    ("data-dir = 5", {}, {}, "data-dir in "),
    ("eval-fraction = nan", {}, {}, "eval-fraction in "),
    ("segment-seconds = inf", {}, {}, "segment-seconds in "),
    ("", {"PAIRSTREAM_EVAL_FRACTION": "1"}, {}, "PAIRSTREAM_EVAL_FRACTION: "),
    ('data-dir = ""', {}, {}, "data-dir in "),
    ("", {}, {"data_dir": ""}, "--data-dir: it is empty"),
    ("", {}, {"sasl_password_file": ""}, "--sasl-password-file names no file"),
    ("", {"PAIRSTREAM_BOOTSTRAP_SERVERS": "\udcff:9092"}, {}, "PAIRSTREAM_BOOTSTRAP_SERVERS is no"),
    ("", {}, {"topic_prefix": "\udcff"}, "--topic-prefix is no UTF-8"),
    ("", {"PAIRSTREAM_LOG_LEVEL": "DEBGU"}, {}, "PAIRSTREAM_LOG_LEVEL: 'DEBGU' is none of DEBUG, "),
    ("trigger-pairs = 5\ntrigger_pairs = 6", {}, {}, "trigger-pairs in "),
    ("training-beta = 0.2\n[training]\nbeta = 0.3", {}, {}, "training-beta in "),
    ("", {"PAIRSTREAM_LAUNCHER": "podman"}, {}, "PAIRSTREAM_LAUNCHER: "),
    ("", {}, {"trigger_pairs": "none"}, "--trigger-pairs: "),
    ("trigger-pairs = 5", {"PAIRSTREAM_TRIGGER_PAIRS": "0"}, {}, "PAIRSTREAM_TRIGGER_PAIRS: "),
    ("", {"PAIRSTREAM_TRIGGER_PAIRS": "5"}, {"trigger_pairs": "0"}, "--trigger-pairs: "),
]


@pytest.mark.parametrize(("content", "environment", "flags", "named"), WRONG)
def test_wrong_value_is_named_where_it_stands(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    environment: dict[str, str],
    flags: dict[str, object],
    named: str,
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSettings) as refused:
        load(TrainerSettings, write(content), flags)

    assert str(refused.value).startswith(named)
    assert "\n" not in str(refused.value)


def test_a_setting_that_stands_in_a_file_twice_is_named_as_it_was_written_both_times(
    write: Write,
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(TrainerSettings, write("training-beta = 0.2\n[training]\nbeta = 0.3"), {})

    assert "training-beta in " in str(refused.value)
    assert ", and [training] beta, are the same setting: keep one" in str(refused.value)


@pytest.mark.parametrize(
    "variable", ["TRIGGER_PAIRS", "DATA_DIR", "SASL_PASSWORD_FILE", "BASE_MODEL", "LOG_LEVEL"]
)
def test_an_empty_variable_is_as_good_as_none(
    write: Write, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"PAIRSTREAM_{variable}", "")

    assert load(TrainerSettings, None, {}) == TrainerSettings()
    assert load(TrainerSettings, write("trigger-pairs = 7"), {}).trigger_pairs == 7


def test_an_empty_variable_may_be_misspelt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSTREAM_TRIGER_PAIRS", "")

    with pytest.raises(InvalidSettings, match="PAIRSTREAM_TRIGER_PAIRS is no setting"):
        load(TrainerSettings, None, {})


def test_blanks_around_a_secret_in_a_file_are_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b" one two \r\n")
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD_FILE", str(tmp_path / "secret"))

    assert load(KafkaSettings, None, {}).sasl_password == " one two "


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LAUNCHER", "podman", "'podman' is none of docker, kubernetes, none, process"),
        ("HTTP_PORT", "x", "Expected a whole number, got text"),
        ("TRIGGER_PAIRS", "0", "Expected a whole number >= 1"),
        ("EVAL_FRACTION", "1", "Expected a number < 1.0"),
        ("TRIGGER_QUIET_HOURS", "at night", "it has not the form that is wanted: Hours, in UTC, "),
    ],
)
def test_what_is_wanted_is_said_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"PAIRSTREAM_{variable}", value)

    with pytest.raises(InvalidSettings) as refused:
        load(TrainerSettings, None, {})

    assert str(refused.value).startswith(f"PAIRSTREAM_{variable}: {said}")


@pytest.mark.parametrize("content", [b"trigger-pairs = ", b"\xff", b"a = 1\na = 2", None])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "broken.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidSettings, match=r"broken\.toml cannot be read"):
        load(WorkerSettings, file, {})


def test_wrong_secret_is_not_shown(write: Write) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(WorkerSettings, write("sasl-password = 4711471147114711"), {})

    assert str(refused.value).startswith("sasl-password in ")
    assert "4711" not in str(refused.value)


def test_secrets_come_from_file_or_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSTREAM_SSL_KEY_PASSWORD", "two")
    settings = load(WorkerSettings, write('sasl-password = "one"'), {})

    assert (settings.sasl_password, settings.ssl_key_password) == ("one", "two")


@pytest.mark.parametrize("variable", sorted(f"PAIRSTREAM_{name.upper()}" for name in SECRETS))
def test_a_secret_may_be_in_a_file_that_a_variable_a_setting_or_a_flag_names(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    name = variable.removeprefix("PAIRSTREAM_").lower()
    cls = next(each for each in SETTINGS_CLASSES if name in each.__struct_fields__)
    secret, other = tmp_path / "secret", tmp_path / "other"
    secret.write_text("one two\n")
    other.write_text("four\n")
    by_setting = write(f'{name.replace("_", "-")}-file = "{secret}"')

    assert getattr(load(cls, by_setting, {}), name) == "one two"
    monkeypatch.setenv(f"{variable}_FILE", str(secret))
    by_itself = write(f'{name.replace("_", "-")} = "x"')
    assert getattr(load(cls, by_itself, {}), name) == "one two"
    assert getattr(load(cls, by_itself, {f"{name}_file": str(other)}), name) == "four"
    monkeypatch.setenv(variable, "three")
    with pytest.raises(InvalidSettings, match=f"{variable}_FILE are both set"):
        load(cls, None, {})


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_secrets_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD_FILE", str(tmp_path / "secret"))

    with pytest.raises(InvalidSettings, match=r"PAIRSTREAM_SASL_PASSWORD_FILE: .*secret cannot"):
        load(WorkerSettings, None, {})


@pytest.mark.parametrize("cls", SETTINGS_CLASSES)
def test_text_of_settings_shows_no_secret(cls: type[KafkaSettings]) -> None:
    secrets = dict.fromkeys(SECRETS.intersection(cls.__struct_fields__), "4711")
    settings = cls(sasl_username="worker", **secrets)

    assert "sasl_username='worker'" in repr(settings)
    assert "sasl_password=***" in repr(settings)
    assert "4711" not in repr(settings)


@pytest.mark.parametrize("cls", [TopicSettings, WorkerSettings, TrainerSettings])
def test_every_setting_has_a_flag_of_secrets_for_their_files_alone(
    cls: type[msgspec.Struct],
) -> None:
    @click.command()
    @settings_options(cls)
    def command(**_: Any) -> None: ...

    flags = {parameter.name for parameter in command.params}

    secrets = SECRETS.intersection(cls.__struct_fields__)
    files = {f"{secret}_file" for secret in secrets}
    assert flags == {*cls.__struct_fields__, "config_file", *files} - secrets


def test_flags_of_the_command_line_become_settings() -> None:
    taken: dict[str, Any] = {}

    @click.command()
    @settings_options(TrainerSettings)
    def command(config_file: Path | None, **flags: Any) -> None:
        taken["settings"] = load(TrainerSettings, config_file, flags)

    arguments = ["--trigger-pairs", "5", "--launcher", "none", "--data-dir", "d"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)

    assert result.exit_code == 0
    expected = TrainerSettings(trigger_pairs=5, launcher="none", data_dir=Path("d"))
    assert taken["settings"] == expected
