"""compose.yaml and each of its profiles: read, pinned, on loopback, and set as we spell it."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairstream.__main__ import COMMANDS
from pairstream.settings_loader import NO_SETTINGS
from schemas.settings import TopicSettings, TrainerSettings, WorkerSettings, convert, known_settings
from tests.conftest import missing

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = {
    "": {"kafka", "topics", "worker", "trainer"},
    "ui": {"ui"},
    "obs": {"prometheus", "grafana"},
    "track": {"trackio"},
    "gpu": {"gpu-check"},
    "otel": {"collector", "jaeger", "spans"},
}

PREFIX = "PAIRSTREAM_"


def compose_program() -> list[str]:
    if found := shutil.which("docker-compose"):
        return [found]
    if (
        shutil.which("docker")
        and not subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        return ["docker", "compose"]
    missing("needs docker compose: install it")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_read_by_compose(profile: str) -> None:
    words = ["--profile", profile] if profile else []
    done = subprocess.run(
        [*compose_program(), "-f", str(ROOT / "compose.yaml"), *words, "config", "--services"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= PROFILES[profile]


def test_every_service_is_of_one_profile() -> None:
    found: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        [profile] = service.get("profiles", [""])
        found.setdefault(profile, set()).add(name)

    assert found == PROFILES


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":(v?\d+\.\d+\.\d+|local)$", service["image"]), name


def test_ports_are_on_loopback() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def names(service: dict[str, Any]) -> set[str]:
    """Of settings that it is given, or handed on."""
    given = service.get("environment", {})
    return {name.removeprefix(PREFIX).lower() for name in given if name.startswith(PREFIX)}


def variables(service: dict[str, Any]) -> dict[str, str]:
    """Settings with what they are where nothing is exported."""
    return {
        name.removeprefix(PREFIX).lower(): re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(value))
        for name, value in service.get("environment", {}).items()
        if name.startswith(PREFIX) and value is not None
    }


@pytest.mark.parametrize("name", SERVICES)
def test_only_settings_that_there_are_are_set(name: str) -> None:
    assert names(SERVICES[name]) <= known_settings() | NO_SETTINGS


# Of brokers that know no passwords and are one; of workers that are several of one kind; of other
# launchers; of programs that the image has not.
NOT_MEANT = re.compile(
    "security_protocol|sasl_.*|ssl_.*|https_ca_location|replication_factor|group_instance_id|"
    "kubernetes_.*|training_python"
)


@pytest.mark.parametrize(
    ("name", "cls"),
    [("topics", TopicSettings), ("worker", WorkerSettings), ("trainer", TrainerSettings)],
)
def test_every_setting_that_can_be_meant_is_handed_on(name: str, cls: type[TopicSettings]) -> None:
    wanted = {field for field in cls.__struct_fields__ if not NOT_MEANT.fullmatch(field)}

    assert names(SERVICES[name]) >= wanted


def test_what_is_exported_reaches_the_processes_and_nothing_else_does() -> None:
    """The key of a garbler's endpoint is the worker's alone."""
    exported = {
        "PAIRSTREAM_LAUNCHER": "none",
        "PAIRSTREAM_EVAL_FRACTION": "0.25",
        "PAIRSTREAM_GARBLER_API_KEY": "secret",
        "PAIRSTREAM_TRIGGER_PAIRS": "7",
    }
    plain, told = _environments({}), _environments(exported)

    assert told["trainer"] == plain["trainer"] | {
        name: value for name, value in exported.items() if name != "PAIRSTREAM_GARBLER_API_KEY"
    }
    assert told["worker"] == plain["worker"] | exported
    assert not exported.keys() - {"PAIRSTREAM_TRIGGER_PAIRS"} & plain["worker"].keys()


def _environments(exported: dict[str, str]) -> dict[str, dict[str, str]]:
    """By service, what compose gives it; without what it takes from nowhere."""
    done = subprocess.run(
        [*compose_program(), "-f", str(ROOT / "compose.yaml"), "config"],
        env={**os.environ, **exported},
        capture_output=True,
        text=True,
        check=True,
    )
    services = yaml.safe_load(done.stdout)["services"]
    return {
        name: {key: value for key, value in given.items() if value is not None}
        for name, service in services.items()
        if (given := service.get("environment")) is not None
    }


def test_the_gpu_is_asked_for_in_its_profile_alone() -> None:
    asking = {
        name
        for name, service in SERVICES.items()
        if service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
    }

    assert asking == PROFILES["gpu"]


@pytest.mark.parametrize(
    ("name", "cls"),
    [("topics", TopicSettings), ("worker", WorkerSettings), ("trainer", TrainerSettings)],
)
def test_settings_are_settings(name: str, cls: type[TopicSettings]) -> None:
    given = variables(SERVICES[name])
    fields = {field for field in given if field in cls.__struct_fields__}
    settings = convert({field: given[field] for field in fields}, cls)
    assert settings.bootstrap_servers == "kafka:19092"


def test_commands_are_commands() -> None:
    commands = {
        name: service["command"][0]
        for name, service in SERVICES.items()
        if service["image"] == "pairstream:local" and "command" in service
    }

    assert commands.keys() >= {"topics", "worker", "trainer"}
    assert set(commands.values()) <= set(COMMANDS)


def test_files_that_are_mounted_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_dir(), volume


def test_services_that_are_scraped_serve_where_it_is_asked() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [workers, trainer] = config["scrape_configs"]

    port = int(variables(SERVICES["worker"])["http_port"])
    assert workers["dns_sd_configs"][0]["names"] == ["worker"]
    assert workers["dns_sd_configs"][0]["port"] == port
    assert trainer["static_configs"][0]["targets"] == [f"trainer:{port}"]


def test_the_collector_writes_a_trace_a_record() -> None:
    config = yaml.safe_load((ROOT / "deploy/otel/collector.yml").read_text())
    kafka = config["exporters"]["kafka"]

    assert kafka["partition_traces_by_id"] is True
    assert kafka["brokers"] == [COMPOSE["x-app"]["environment"]["PAIRSTREAM_BOOTSTRAP_SERVERS"]]
    assert f"--topic={kafka['traces']['topic']}" in SERVICES["spans"]["entrypoint"]
    for pipeline in config["service"]["pipelines"].values():
        assert set(pipeline["exporters"]) <= config["exporters"].keys()
        assert set(pipeline["receivers"]) <= config["receivers"].keys()


def test_traces_of_the_services_go_to_jaeger_and_never_to_the_topic_of_runs() -> None:
    config = yaml.safe_load((ROOT / "deploy/otel/collector.yml").read_text())
    services = config["service"]["pipelines"]["traces/services"]
    [receiver] = services["receivers"]
    port = config["receivers"][receiver]["protocols"]["http"]["endpoint"].rpartition(":")[2]

    assert receiver not in config["service"]["pipelines"]["traces/agents"]["receivers"]
    assert all(f":{port}" not in published for published in SERVICES["collector"]["ports"])
    assert f"TRACES_ENDPOINT=http://collector:{port} " in (ROOT / "compose.yaml").read_text()
    assert f"TRACES_ENDPOINT=http://collector:{port} " in (ROOT / "docs/traces.md").read_text()
    assert services["exporters"] == ["otlphttp/jaeger"]
    at = config["exporters"]["otlphttp/jaeger"]["endpoint"].removeprefix("http://jaeger")
    assert SERVICES["jaeger"]["command"][1].endswith(f"0.0.0.0{at}")
