"""The client's settings have the names that the service's have."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pairstream_client.settings import (
    DEFAULT_SPOOL_BYTES,
    ENVIRONMENT_PREFIX,
    PROPERTIES,
    SpoolSettings,
    producer_config,
    spool_settings,
    topic_name,
)
from schemas import clients
from schemas.settings import SECRETS, KafkaSettings, convert
from schemas.topics import MAX_EVENT_BYTES, RUN_EVENTS


def _config(environment: dict[str, str], **arguments: object) -> dict[str, object]:
    wanted: dict[str, Any] = {
        "bootstrap_servers": None,
        "max_queued_events": 10,
        "overrides": {},
    } | arguments
    return producer_config(environment, **wanted)


def test_variables_are_those_of_the_service() -> None:
    names = {field.name for field in msgspec.structs.fields(KafkaSettings)}
    assert set(PROPERTIES) == names - {"topic_prefix"}


def test_an_event_may_be_as_large_as_the_service_makes_one_itself() -> None:
    assert _config({})["message.max.bytes"] == MAX_EVENT_BYTES


def test_variables_mean_what_they_mean_to_the_service() -> None:
    values = {
        "bootstrap_servers": "kafka:9093",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "agent",
        "sasl_password": "secret",
        "sasl_oauthbearer_token_endpoint_url": "https://id.example/token",
        "sasl_oauthbearer_client_id": "agent",
        "sasl_oauthbearer_client_secret": "secret as well",
        "sasl_oauthbearer_scope": "kafka",
        "https_ca_location": "id.pem",
        "ssl_ca_location": "ca.pem",
        "ssl_certificate_location": "agent.pem",
        "ssl_key_location": "agent.key",
        "ssl_key_password": "secret too",
    }
    config = _config({ENVIRONMENT_PREFIX + name.upper(): text for name, text in values.items()})

    unset = clients.connection(KafkaSettings())
    service = clients.connection(convert(values, KafkaSettings))
    by_values = dict(service.items() - unset.items())
    assert len(by_values) == len(values)
    assert config | by_values == config


def test_tokens_are_asked_for_as_the_service_asks() -> None:
    method = "sasl.oauthbearer.method"
    by_token = {"PAIRSTREAM_SASL_MECHANISM": "OAUTHBEARER"}

    service = clients.connection(KafkaSettings(sasl_mechanism="OAUTHBEARER"))
    assert _config(by_token)[method] == service[method] == "oidc"
    assert method not in _config({"PAIRSTREAM_SASL_MECHANISM": "PLAIN"})


@pytest.mark.parametrize("name", sorted(SECRETS & set(PROPERTIES)))
def test_a_secret_may_be_in_a_file(tmp_path: Path, name: str) -> None:
    variable = ENVIRONMENT_PREFIX + name.upper()
    file = tmp_path / "secret"
    file.write_text("one two\n")
    by_file = {f"{variable}_FILE": str(file)}

    assert _config(by_file)[PROPERTIES[name]] == "one two"
    with pytest.raises(ValueError, match=f"{variable}_FILE are both set"):
        _config({**by_file, variable: "three"})
    file.unlink()
    with pytest.raises(ValueError, match=f"{variable}_FILE: .* cannot be read"):
        _config(by_file)


def test_blanks_around_a_secret_in_a_file_are_its_own(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" one two \r\n")

    config = _config({"PAIRSTREAM_SASL_PASSWORD_FILE": str(file)})
    assert config["sasl.password"] == " one two "


@pytest.mark.parametrize(
    "name", ["enable.idempotence", "acks", "partitioner", "compression.type", "delivery.timeout.ms"]
)
def test_events_are_delivered_as_the_service_delivers(name: str) -> None:
    assert _config({})[name] == clients.producer(KafkaSettings())[name]


def test_arguments_win_over_the_environment_and_properties_over_both() -> None:
    environment = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "by-environment:9092"}
    overrides = {"bootstrap.servers": "by-config:9092", "linger.ms": 5}

    defaults = _config({})
    by_environment = _config(environment)
    by_argument = _config(environment, bootstrap_servers="by-argument:9092")
    by_config = _config(environment, bootstrap_servers="by-argument:9092", overrides=overrides)

    assert defaults["bootstrap.servers"] == KafkaSettings().bootstrap_servers
    assert by_environment["bootstrap.servers"] == "by-environment:9092"
    assert by_argument["bootstrap.servers"] == "by-argument:9092"
    assert by_config["bootstrap.servers"] == "by-config:9092"
    assert (defaults["linger.ms"], by_config["linger.ms"]) == (10, 5)


@pytest.mark.parametrize("variable", ["PAIRSTREAM_BOOTSTRAP_SERVERS", "PAIRSTREAM_SASL_USERNAME"])
def test_an_empty_variable_is_as_good_as_none(variable: str) -> None:
    assert _config({variable: ""}) == _config({})


@pytest.mark.parametrize("prefix", ["", "t1.", "a-b.", "dev_", "x" * 100])
def test_the_prefix_stands_before_the_topic(prefix: str) -> None:
    assert topic_name({}, prefix) == prefix + RUN_EVENTS.name
    assert topic_name({"PAIRSTREAM_TOPIC_PREFIX": prefix}, None) == prefix + RUN_EVENTS.name
    assert topic_name({"PAIRSTREAM_TOPIC_PREFIX": "other."}, prefix) == prefix + RUN_EVENTS.name


@pytest.mark.parametrize("prefix", ["a b", "a:b", "x" * 101, "a/b", "a b\n"])
def test_a_prefix_that_the_service_refuses_is_refused(prefix: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        convert({"topic_prefix": prefix}, KafkaSettings)
    with pytest.raises(ValueError, match="topic_prefix"):
        topic_name({}, prefix)


def _spool(environment: dict[str, str], **arguments: object) -> SpoolSettings | None:
    wanted: dict[str, Any] = dict.fromkeys(["root", "max_bytes", "fsync"]) | arguments
    return spool_settings(environment, **wanted)


IN_ENVIRONMENT = {
    "PAIRSTREAM_SPOOL_DIR": "/spool",
    "PAIRSTREAM_SPOOL_MAX_BYTES": "5000",
    "PAIRSTREAM_SPOOL_FSYNC": "true",
}


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, {}, None),
        ({"PAIRSTREAM_SPOOL_DIR": ""}, {}, None),
        (IN_ENVIRONMENT, {"root": ""}, None),
        ({}, {"root": "/spool"}, SpoolSettings(Path("/spool"), DEFAULT_SPOOL_BYTES, False)),
        (IN_ENVIRONMENT, {}, SpoolSettings(Path("/spool"), 5000, True)),
        (IN_ENVIRONMENT, {"root": Path("/other")}, SpoolSettings(Path("/other"), 5000, True)),
        (
            IN_ENVIRONMENT,
            {"max_bytes": 7, "fsync": False},
            SpoolSettings(Path("/spool"), 7, False),
        ),
        (
            IN_ENVIRONMENT | {"PAIRSTREAM_SPOOL_FSYNC": "0", "PAIRSTREAM_SPOOL_MAX_BYTES": ""},
            {},
            SpoolSettings(Path("/spool"), DEFAULT_SPOOL_BYTES, False),
        ),
    ],
)
def test_the_spool_is_set_by_arguments_else_by_the_environment(
    environment: dict[str, str], arguments: dict[str, object], expected: SpoolSettings | None
) -> None:
    assert _spool(environment, **arguments) == expected


@pytest.mark.parametrize(
    ("environment", "arguments", "named"),
    [
        ({}, {"root": 7}, "spool"),
        ({}, {"root": "/spool", "max_bytes": 0}, "spool_max_bytes"),
        ({}, {"root": "/spool", "fsync": "perhaps"}, "spool_fsync"),
        (IN_ENVIRONMENT | {"PAIRSTREAM_SPOOL_MAX_BYTES": "5 GB"}, {}, "spool_max_bytes"),
        (IN_ENVIRONMENT | {"PAIRSTREAM_SPOOL_FSYNC": "often"}, {}, "spool_fsync"),
    ],
)
def test_a_spool_that_cannot_be_set_up_so_is_refused(
    environment: dict[str, str], arguments: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        _spool(environment, **arguments)


def test_with_a_spool_events_are_not_given_up_in_time() -> None:
    assert _config({}, is_spooled=True)["delivery.timeout.ms"] == 0
