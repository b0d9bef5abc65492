"""Contract, section 6: the settings that are part of it, with their defaults and bounds."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.settings import (
    SECRETS,
    SETTINGS_CLASSES,
    TopicSettings,
    TrainerSettings,
    WorkerSettings,
    convert,
    known_settings,
)

# Variable, class that reads it, default, other values as text with what they mean.
CONTRACT: list[tuple[str, type[msgspec.Struct], object, dict[str, object]]] = [
    ("PAIRSTREAM_BOOTSTRAP_SERVERS", WorkerSettings, "127.0.0.1:9092", {"a:1,b:2": "a:1,b:2"}),
    ("PAIRSTREAM_TOPIC_PREFIX", WorkerSettings, "", {"staging.": "staging."}),
    ("PAIRSTREAM_PARTITIONS", TopicSettings, 4, {"1": 1, "48": 48}),
    ("PAIRSTREAM_REPLICATION_FACTOR", TopicSettings, 1, {"3": 3}),
    ("PAIRSTREAM_DATA_DIR", TrainerSettings, Path("./pairstream-data"), {"/srv/p": Path("/srv/p")}),
    ("PAIRSTREAM_RUN_TIMEOUT_SECONDS", WorkerSettings, 3600, {"0.5": 0.5, "86400": 86400}),
    ("PAIRSTREAM_PAIRING_EXTENDED", WorkerSettings, False, {"true": True, "false": False}),
    (
        "PAIRSTREAM_GARBLER",
        WorkerSettings,
        "corrupt",
        {"corrupt": "corrupt", "high_temperature": "high_temperature"},
    ),
    ("PAIRSTREAM_TRIGGER_PAIRS", TrainerSettings, 1000, {"1": 1}),
    ("PAIRSTREAM_EVAL_FRACTION", TrainerSettings, 0.1, {"0": 0.0, "0.25": 0.25}),
    ("PAIRSTREAM_LAUNCHER", TrainerSettings, "docker", {"process": "process", "none": "none"}),
    ("PAIRSTREAM_BASE_MODEL", TrainerSettings, None, {"models/m": "models/m"}),
]
IDS = [variable for variable, *_ in CONTRACT]


def name_of(variable: str) -> str:
    return variable.removeprefix("PAIRSTREAM_").lower()


@pytest.mark.parametrize(("variable", "cls", "default", "values"), CONTRACT, ids=IDS)
def test_setting_of_the_contract_has_its_default_and_values(
    variable: str, cls: type[msgspec.Struct], default: object, values: dict[str, object]
) -> None:
    name = name_of(variable)

    assert getattr(cls(), name) == default
    for text, meaning in values.items():
        assert getattr(convert({name: text}, cls), name) == meaning


@pytest.mark.parametrize("cls", SETTINGS_CLASSES)
def test_setting_means_the_same_to_every_process(cls: type[msgspec.Struct]) -> None:
    defaults = {name_of(variable): default for variable, _, default, _ in CONTRACT}

    for name in defaults.keys() & set(cls.__struct_fields__):
        assert getattr(cls(), name) == defaults[name]


WRONG: list[tuple[str, Any]] = [
    ("bootstrap_servers", ""),
    ("topic_prefix", "with space"),
    ("topic_prefix", "a/b"),
    ("topic_prefix", "a\n"),
    ("topic_prefix", "x" * 101),
    ("security_protocol", "TLS"),
    ("partitions", "0"),
    ("partitions", "1.5"),
    ("replication_factor", "0"),
    ("run_timeout_seconds", "0"),
    ("run_timeout_seconds", "-1"),
    ("run_timeout_seconds", "nan"),
    ("run_timeout_seconds", "inf"),
    ("run_timeout_seconds", "an hour"),
    ("pairing_extended", "sometimes"),
    ("garbler", "shuffle"),
    ("garbler_temperature", "0"),
    ("garbler_temperature", "nan"),
    ("garbler_timeout_seconds", "0"),
    ("garbler_concurrency", "0"),
    ("garbler_retries", "-1"),
    ("garbler_budget_tokens", "0"),
    ("trigger_pairs", "0"),
    ("trigger_pairs", ""),
    ("eval_fraction", "1"),
    ("eval_fraction", "-0.1"),
    ("eval_fraction", "nan"),
    ("launcher", "podman"),
    ("data_dir", 5),
    ("training_memory", "16 GB"),
    ("training_cpus", "0"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{n}={v}"[:40] for n, v in WRONG])
def test_wrong_value_is_an_error_that_names_the_setting(name: str, value: object) -> None:
    cls = next(cls for cls in SETTINGS_CLASSES if name in cls.__struct_fields__)

    with pytest.raises(msgspec.ValidationError, match=name):
        convert({name: value}, cls)


def test_unknown_name_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="triger_pairs"):
        convert({"triger_pairs": 1}, TrainerSettings)


def test_known_settings_are_those_of_all_processes() -> None:
    known = known_settings()

    assert {name_of(variable) for variable in IDS} <= known
    assert known >= SECRETS
    for cls in SETTINGS_CLASSES:
        assert known >= set(cls.__struct_fields__)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        WorkerSettings().garbler = "corrupt"  # type: ignore[misc]
