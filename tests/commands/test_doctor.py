"""`pairstream doctor`: what is wrong is found, with its remedy."""

import errno
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import NewTopic

from pairstream.__main__ import cli
from pairstream.cluster import TopicState
from pairstream.doctor.brokers import (
    SKEW_SECONDS,
    clock_finding,
    copies_finding,
    prefixes_of,
    security_findings,
    topic_findings,
)
from pairstream.doctor.disk import SLOW_SECONDS, check_disk, room_finding, write_finding
from pairstream.doctor.findings import MEND, Finding, finding_lines, from_error, wrong
from pairstream.doctor.installation import client_finding
from pairstream.doctor.training import (
    check_base_model,
    check_interpreter,
    gpu_finding,
    room_findings,
)
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import PAIRS, RUN_EVENTS
from tests.commands.deployment import Deployment, mixed_run
from trainer.disk import Disk


def examined(deployment: Deployment | None, *words: str) -> tuple[int, dict[str, Any]]:
    env = deployment.env if deployment else {}
    done = CliRunner().invoke(cli, ["doctor", "--json", *words], env=env)
    return int(done.exception is not None), json.loads(done.stdout)


@pytest.fixture
def brokers_are_away(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a deployment without brokers, which are not waited for."""
    monkeypatch.setattr("pairstream.doctor.brokers.ANSWER_SECONDS", 0.1)
    return ["--bootstrap-servers", "127.0.0.1:1", "--launcher", "none"]


def states(report: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["state"] for finding in report["findings"]}


def test_a_deployment_that_is_well(deployment: Deployment) -> None:
    deployment.say(*mixed_run("m-1"))
    deployment.data.root.mkdir()
    before = sorted(deployment.data.root.iterdir())
    code, report = examined(deployment, "--launcher", "none")

    assert (code, report["wrong"]) == (0, 0)
    assert set(states(report).values()) == {"ok"}
    assert states(report).keys() >= {"packages", "settings", "brokers", "topics", "clock", "disk"}
    assert sorted(deployment.data.root.iterdir()) == before


def test_a_missing_topic_is_found(embedded_broker: str, prefix: str) -> None:
    words = ["--bootstrap-servers", embedded_broker, "--topic-prefix", prefix]
    code, report = examined(None, *words, "--launcher", "none")

    [topics] = [each for each in report["findings"] if each["check"] == "topics"]
    assert code == 1
    assert prefix + PAIRS.name in topics["found"]
    assert topics["remedy"].startswith("run `pairstream topics apply`")


def test_a_prefix_that_is_not_the_deployments_is_told_where_topics_lie(
    deployment: Deployment,
) -> None:
    wrong_prefix = deployment.names.prefix + "x"
    _, report = examined(deployment, "--topic-prefix", wrong_prefix, "--launcher", "none")

    [topics] = [each for each in report["findings"] if each["check"] == "topics"]
    assert "mend PAIRSTREAM_TOPIC_PREFIX: the cluster has topics of ours" in topics["remedy"]


@pytest.mark.parametrize(
    ("there", "prefixes", "said"),
    [
        ([], [], "run `pairstream topics apply`"),
        ([RUN_EVENTS.name, "another"], [""], "under the prefix none"),
        ([f"a.{RUN_EVENTS.name}", f"a.{PAIRS.name}"], ["a."], "under the prefix 'a.'"),
        ([f"{n}.{RUN_EVENTS.name}" for n in "dcba"], ["a.", "b.", "c.", "d."], "'c.', and others"),
    ],
)
def test_prefixes_of_the_cluster_are_told_where_all_topics_are_missing(
    there: list[str], prefixes: list[str], said: str
) -> None:
    assert prefixes_of(there) == prefixes
    [lost] = topic_findings([TopicState("a", missing=True)], prefixes)
    [some, _] = topic_findings(
        [TopicState("a", missing=True), TopicState("b", differs=["x"])], prefixes
    )
    assert str(lost.remedy).endswith(said)
    assert some.remedy == "run `pairstream topics apply`"


def test_other_partitions_are_found(deployment: Deployment) -> None:
    code, report = examined(deployment, "--partitions", "5", "--launcher", "none")

    assert code == 1
    assert any("partitions are 4, not 5" in each["found"] for each in report["findings"])


def test_brokers_that_are_away_hold_up_no_other_check(brokers_are_away: list[str]) -> None:
    code, report = examined(None, *brokers_are_away)

    assert code == 1
    assert (states(report)["brokers"], states(report)["disk"]) == ("wrong", "ok")


def broken_address(monkeypatch: pytest.MonkeyPatch, _: Path) -> list[str]:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:abc")
    return ["--launcher", "docker"]


def dangling_weights(_: pytest.MonkeyPatch, folder: Path) -> list[str]:
    (folder / "config.json").write_text("{}")
    (folder / "x.safetensors").symlink_to(folder / "nowhere")
    return ["--launcher", "process", "--base-model", str(folder)]


def closed_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Above the data directory; root may look into any."""
    exists = Path.exists

    def closed(path: Path) -> bool:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", closed)
    return ["--launcher", "none", "--data-dir", str(folder / "data")]


@pytest.mark.parametrize(
    ("break_it", "check", "said"),
    [
        (broken_address, "docker", "no Docker Engine answers (ValueError)"),
        (dangling_weights, "room", "No such file or directory"),
        (closed_folder, "data dir", "this check failed: PermissionError: Permission denied: "),
    ],
)
def test_a_check_that_fails_holds_up_no_other_one(
    break_it: Callable[[pytest.MonkeyPatch, Path], list[str]],
    check: str,
    said: str,
    brokers_are_away: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    code, report = examined(None, *brokers_are_away, *break_it(monkeypatch, tmp_path))

    assert code == 1
    [finding] = [each for each in report["findings"] if each["check"] == check]
    assert (finding["state"], said in finding["found"]) == ("wrong", True), finding
    assert states(report).keys() > {"packages", "brokers", check}
    assert all(each["remedy"] for each in report["findings"] if each["state"] != "ok")


@pytest.mark.parametrize(
    ("text", "marks", "found", "remedy"),
    [
        ("missing topics: a, b; run x", ("; ", ": "), "missing topics: a, b", "run x"),
        ("no broker at h:1: is it there?", ("; ", ": "), "no broker at h:1", "is it there?"),
        ("weights: run a; b", (": ",), "weights", "run a; b"),
        ("it is broken", ("; ", ": "), "it is broken", MEND),
    ],
)
def test_errors_say_their_remedy(
    text: str, marks: tuple[str, ...], found: str, remedy: str
) -> None:
    finding = from_error("x", PairstreamError(text), marks)

    assert (finding.state, finding.found, finding.remedy) == ("wrong", found, remedy)


def test_settings_of_which_no_connection_can_be_made_hold_up_no_other_check() -> None:
    words = ["--security-protocol", "SASL_SSL", "--sasl-mechanism", "PLAIN", "--launcher", "none"]
    code, report = examined(None, *words)

    assert code == 1
    assert (states(report)["brokers"], states(report)["disk"]) == ("wrong", "ok")


def test_settings_that_are_wrong_are_each_found_and_hold_up_no_other_check(
    brokers_are_away: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(f'data-dirr = "x"\ndata-dir = "{tmp_path}"\nrun-timeout-seconds = 0\n')
    monkeypatch.setenv("PAIRSTREAM_TRIGER_PAIRS", "5")
    monkeypatch.setenv("PAIRSTREAM_PARTITIONS", "many")
    code, report = examined(None, "--config", str(config), *brokers_are_away)

    found = [each["found"] for each in report["findings"] if each["check"] == "settings"]
    assert sorted(found) == [
        "PAIRSTREAM_PARTITIONS: Expected a whole number, got text",
        "PAIRSTREAM_TRIGER_PAIRS is no setting; did you mean PAIRSTREAM_TRIGGER_PAIRS?",
        f"data-dirr in {config} is no setting; did you mean data-dir?",
        f"run-timeout-seconds in {config}: Expected a number > 0.0",
    ]
    assert all("default" in each["remedy"] for each in report["findings"]
               if each["check"] == "settings")  # fmt: skip
    assert (code, report["wrong"]) == (1, 5)
    assert (states(report)["brokers"], states(report)["disk"]) == ("wrong", "ok")
    assert str(tmp_path) in next(e["found"] for e in report["findings"] if e["check"] == "disk")


def test_a_settings_file_that_cannot_be_read_is_found(
    brokers_are_away: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("partitions = ")
    code, report = examined(None, "--config", str(config), *brokers_are_away)

    assert (code, states(report)["settings"], states(report)["disk"]) == (1, "wrong", "ok")


def test_lines_say_the_remedy(deployment: Deployment) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--launcher", "process"], env=deployment.env)

    assert "wrong  base model" in done.output
    assert str(done.exception) == "1 thing is wrong"


FINDINGS: list[tuple[Finding, str]] = [
    (copies_finding(1, 3), "wrong"),
    (copies_finding(3, 1), "note"),
    (copies_finding(3, 3), "ok"),
    (clock_finding(None, 0), "ok"),
    (clock_finding(1_000, 900_000), "ok"),
    (clock_finding(int(SKEW_SECONDS * 1000) + 1, 0), "wrong"),
    (room_finding(Path("d"), Disk(5, 100)), "wrong"),
    (room_finding(Path("d"), Disk(50, 100)), "ok"),
    (write_finding(Path("d"), 0.01), "ok"),
    (write_finding(Path("d"), SLOW_SECONDS + 1), "note"),
    (client_finding("0.1.0", None), "ok"),
    (client_finding("0.1.0", "0.1.0"), "ok"),
    (client_finding("0.2.0", "0.1.0"), "note"),
    (gpu_finding({"Runtimes": {"runc": {}}}, "auto"), "note"),
    (gpu_finding({"Runtimes": {"runc": {}}}, "cuda"), "wrong"),
    (gpu_finding({"Runtimes": {"runc": {}, "nvidia": {}}}, "cuda"), "ok"),
    (gpu_finding({"Runtimes": None, "DiscoveredDevices": [{}]}, "auto"), "ok"),
    (gpu_finding({}, "cpu"), "ok"),
    (check_base_model("org/model", "docker"), "note"),
    (check_base_model("./not/there", "docker"), "wrong"),
]


@pytest.mark.parametrize(("finding", "state"), FINDINGS, ids=lambda each: str(each)[:60])
def test_findings(finding: Finding, state: str) -> None:
    assert finding.state == state
    assert finding.state == "ok" or finding.remedy


def test_differing_and_missing_topics_are_each_told() -> None:
    found = list(topic_findings([TopicState("a", missing=True), TopicState("b", differs=["x"])]))

    assert [finding.state for finding in found] == ["wrong", "wrong"]


def test_what_may_be_chosen_is_said_and_well() -> None:
    states = [TopicState("a"), TopicState("b", chosen=["retention.ms is 1, not 2"])]
    [found] = topic_findings(states)

    assert found.state == "ok"
    assert "b: retention.ms is 1, not 2" in found.found


def test_topics_that_differ_alike_are_told_once() -> None:
    states = [TopicState("a", differs=["x"]), TopicState("b", differs=["x"]), TopicState("c")]

    assert [finding.found for finding in topic_findings(states)] == ["a, b: x"]


def test_room_for_a_training_is_asked_as_the_trainer_asks() -> None:
    [short] = room_findings(Path("d"), 2**20, 2**30)

    assert short.state == "wrong"
    assert short.found == "a training wants 1.0 GiB of disk, and 1.0 MiB are free for d"
    assert list(room_findings(Path("d"), 2**30, 2**30)) == []


def test_too_little_room_is_found(deployment: Deployment, tiny_model: Path) -> None:
    words = ["--base-model", str(tiny_model), "--training-spare-disk", "999999g", "--launcher"]

    assert states(examined(deployment, *words, "process")[1])["room"] == "wrong"
    assert "room" not in states(examined(deployment, *words, "none")[1])


@pytest.mark.parametrize(
    ("protocol", "mechanism", "notes"),
    [
        ("PLAINTEXT", "PLAIN", 1),
        ("SSL", "SCRAM-SHA-256", 1),
        ("SASL_SSL", "PLAIN", 0),
        ("PLAINTEXT", None, 0),
    ],
)
def test_a_mechanism_that_nothing_uses_is_told(protocol: Any, mechanism: Any, notes: int) -> None:
    settings = KafkaSettings(security_protocol=protocol, sasl_mechanism=mechanism)

    assert len(list(security_findings(settings))) == notes


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no weights"),
        ({"pytorch_model.bin": ""}, "in a pickle"),
        ({"model.safetensors": ""}, "no chat template"),
        ({"model.safetensors": "", "tokenizer_config.json": "{broken"}, "no chat template"),
        (
            {"model.safetensors": "", "tokenizer_config.json": '{"chat_template": "x"}'},
            "with a chat",
        ),
        ({"model.safetensors": "", "chat_template.jinja": "x"}, "with a chat template"),
    ],
)
def test_base_models(tmp_path: Path, files: dict[str, str], said: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    assert said in check_base_model(str(tmp_path), "docker").found


@pytest.mark.parametrize(("launcher", "state"), [("docker", "wrong"), ("process", "ok")])
def test_a_base_model_that_no_container_could_read(
    launcher: str, state: str, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).symlink_to(file)

    assert check_base_model(str(model), launcher).state == state


def test_the_small_model_of_the_tests_is_well(tiny_model: Path) -> None:
    assert check_base_model(str(tiny_model), "docker").state == "ok"


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [("exit 0", "ok", "has trl"), ("exit 1", "wrong", "has no trl")],
)
def test_interpreters(tmp_path: Path, answer: str, state: str, said: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    finding = check_interpreter(str(python))

    assert (finding.state, said in finding.found) == (state, True)


def test_the_question_to_an_interpreter_is_one() -> None:
    has_trl = importlib.util.find_spec("trl") is not None

    assert (check_interpreter(sys.executable).state == "ok") is has_trl


def test_an_interpreter_that_is_not_there_is_found_where_it_trains(
    deployment: Deployment, tiny_model: Path, tmp_path: Path
) -> None:
    python = str(tmp_path / "none")
    words = ["--base-model", str(tiny_model), "--training-python", python, "--launcher"]

    code, report = examined(deployment, *words, "process")
    [finding] = [each for each in report["findings"] if each["check"] == "interpreter"]
    assert (code, finding["state"]) == (1, "wrong")
    assert python in finding["found"]
    assert "PAIRSTREAM_TRAINING_PYTHON" in finding["remedy"]
    assert "interpreter" not in states(examined(deployment, *words, "none")[1])


def test_an_interpreter_that_is_yet_to_be_made_is_well() -> None:
    assert check_interpreter(None).state == "ok"


def test_a_data_directory_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    findings = list(check_disk(Path("/proc/sys")))
    for under in (tmp_path / "file", tmp_path / "file" / "data"):
        assert list(check_disk(under))[-1].found == f"{tmp_path / 'file'} is no folder"

    assert findings[-1].state == "wrong"
    assert "PAIRSTREAM_DATA_DIR" in str(findings[-1].remedy)


def test_colours_are_left_out_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = wrong("x", "y\x1b[0m", "z")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in "".join(finding_lines([finding]))
    monkeypatch.setenv("NO_COLOR", "1")
    text = "".join(finding_lines([finding]))

    assert "\x1b" not in text
    assert "y\\x1b[0m" in text


def test_partitions_of_a_topic_more_than_ours_are_left_alone(deployment: Deployment) -> None:
    """Topics of others are no business of ours."""
    deployment.cluster.create([NewTopic(deployment.names.prefix + "another", 1, 1)])

    assert examined(deployment, "--launcher", "none")[0] == 0
