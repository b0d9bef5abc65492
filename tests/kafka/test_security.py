"""Kafka with TLS, passwords, tokens, certificates and ACLs: who proves itself gets just its own."""

import re
import shlex
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pairstream.cluster import Cluster, apply_topics
from pairstream.ends import bounded_consumer
from pairstream.permissions import apply_rules, binding, check_permissions, script
from pairstream_client import Publisher, RunRecorder
from schemas import clients
from schemas.acls import ROLES, Role, Rule, rules
from schemas.errors import InvalidSettings, PairstreamError
from schemas.settings import ENVIRONMENT_PREFIX, KafkaSettings, convert
from schemas.topics import RUN_EVENTS, SCORED_ROWS, Names
from tests.apache_kafka import ApacheKafka
from tests.conftest import Pairstream
from tests.formats.reading import RECORDED
from tests.kafka.services import Deployment
from tests.kafka.test_worker import await_settled, runs
from tests.secure_kafka import ADMIN, KEY_PASSWORD, USERS, SecureKafka, password_of
from tests.ui.sites import SiteProcess
from tests.waiting import wait_for
from trainer.datasets import dataset_lines

pytestmark = pytest.mark.kafka

CLOSE_SECONDS = 60.0
ADDRESS = "somebody@example.org"
PROMPTS = {
    name: [{"role": "user", "content": name}]
    for name in ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")
}

WAYS: dict[str, Callable[[SecureKafka, str], dict[str, str]]] = {
    "PLAIN": lambda kafka, user: kafka.by_password(user),
    "SCRAM-SHA-256": lambda kafka, user: kafka.by_password(user, "SCRAM-SHA-256"),
    "SCRAM-SHA-512": lambda kafka, user: kafka.by_password(user, "SCRAM-SHA-512"),
    "OAUTHBEARER": lambda kafka, user: kafka.by_token(user),
    "certificate": lambda kafka, user: kafka.by_certificate(user),
}
ROLE_NAMES: tuple[Role, ...] = ("agent", "worker", "trainer", "reader")


@pytest.fixture(scope="module")
def kafka(
    apache_kafka: ApacheKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecureKafka]:
    folder = tmp_path_factory.mktemp("secure-kafka")
    with SecureKafka(apache_kafka.home, folder) as node, node.tokens:
        node.add_scram_users()
        yield node


@pytest.fixture
def deployment(kafka: SecureKafka, prefix: str, tmp_path: Path) -> Deployment:
    """Its own settings pass everywhere; `as_user` puts a principal's into its environment."""
    made = Deployment(kafka.bootstrap_servers, prefix, tmp_path)
    list(apply_topics(Cluster(made.settings), made.settings))
    for role in ROLE_NAMES:
        allow(made, kafka, role)
    return made


def allow(deployment: Deployment, kafka: SecureKafka, role: Role) -> None:
    apply_rules(Cluster(deployment.settings), rules(role, f"User:{role}", deployment.names))
    # A broker takes them over a moment after it has answered.
    settings = settings_of(deployment, kafka.by_password(role))
    theirs = Cluster(settings)
    wait_for(lambda: complaint(theirs, settings, role) == "")


def complaint(cluster: Cluster, settings: KafkaSettings, role: Role) -> str:
    """What a process of the role says at its start."""
    try:
        check_permissions(cluster, settings, role)
    except PairstreamError as error:
        return str(error)
    return ""


def as_user(deployment: Deployment, of_user: dict[str, str]) -> None:
    deployment.environment.update(of_user)


def settings_of(deployment: Deployment, variables: dict[str, str]) -> KafkaSettings:
    values = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in {**deployment.environment, **variables}.items()
    }
    return convert({n: v for n, v in values.items() if n in KafkaSettings.__struct_fields__},
                   KafkaSettings)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_agent_and_worker_prove_who_they_are(
    deployment: Deployment, kafka: SecureKafka, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _record_a_run(deployment, WAYS[way](kafka, "agent"), monkeypatch)

    as_user(deployment, WAYS[way](kafka, "worker"))
    with deployment.running("worker", log_level="DEBUG") as worker:
        await_settled(deployment, worker, 1)
        assert worker.stop() == 0, worker.log
    _check_no_secret(worker.log)


def _record_a_run(
    deployment: Deployment, agent: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**deployment.environment, **agent}.items():
        monkeypatch.setenv(name, value)
    publisher = Publisher()
    with RunRecorder(PROMPTS, run_id="recorded", agent_id="a-1", publisher=publisher) as run:
        strategy = run.propose(f"Empty the cache of {ADDRESS}.")
        strategy.attempt("fail()", compiled=True, ran=False)
        strategy.attempt("free()", compiled=True, ran=True, score=1.0)
    assert publisher.close(CLOSE_SECONDS) == 0
    assert publisher.stats.acknowledged == 5
    for name in agent:
        monkeypatch.delenv(name)


def _check_no_secret(text: str) -> None:
    assert text
    for secret in (KEY_PASSWORD, *map(password_of, USERS)):
        assert secret not in text


def test_the_main_job_needs_no_more_than_the_acls_say(
    deployment: Deployment,
    kafka: SecureKafka,
    pairstream: Pairstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Secrets come from files, as orchestrators mount them; texts are redacted."""

    def by_file(user: str) -> dict[str, str]:
        variables = kafka.by_password(user, "SCRAM-SHA-512")
        file = tmp_path / f"{user}.secret"
        file.write_text(variables.pop("PAIRSTREAM_SASL_PASSWORD") + "\n")
        return {**variables, "PAIRSTREAM_SASL_PASSWORD_FILE": str(file)}

    deployment.environment["PAIRSTREAM_REDACT"] = "secrets,personal"
    _record_a_run(deployment, by_file("agent"), monkeypatch)
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join(value + b"\n" for _, value in runs(0, 5) if value))
    pairstream("ingest", events, env={**deployment.environment, **by_file("agent")})

    as_user(deployment, by_file("worker"))
    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 6)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    as_user(deployment, by_file("trainer"))
    with deployment.running("trainer", "--once", launcher="none", trigger_pairs="6") as trainer:
        assert trainer.await_end() == 0, trainer.log
    pairs = {pair["run_id"]: pair for pair in deployment.pairs_in_datasets()}
    assert len(pairs) == 6
    assert pairs["recorded"]["prompt"][0]["content"] == "Empty the cache of [REDACTED:email]."
    assert ADDRESS not in str(deployment.rows(SCORED_ROWS))

    reader = {**deployment.environment, **by_file("reader")}
    status = orjson.loads(pairstream("status", "--json", env=reader).stdout)
    assert status["cluster"]["pairs"]["read"] == 6
    assert status["cluster"]["trainer"]["lag"] == 0
    assert "paired" in pairstream("explain", "recorded", env=reader).stdout
    pairstream("verify", env=reader)
    assert "no dead letters" in pairstream("dlt", "list", env=reader).stdout.lower()
    pairstream("replay", "--from", "events", "--out", "again", env=reader)
    replayed = [orjson.loads(line) for line in dataset_lines(tmp_path / "again")]
    assert {pair["pair_id"]: pair for pair in replayed} == {
        pair["pair_id"]: pair for pair in pairs.values()
    }
    for log in (worker.log, trainer.log):
        _check_no_secret(log)


def test_tail_site_and_bridge_need_no_more_than_the_acls_say(
    deployment: Deployment, kafka: SecureKafka, tmp_path: Path
) -> None:
    allow(deployment, kafka, "bridge")
    trace = (RECORDED / "openinference" / "openai_agents.jsonl").read_bytes()
    reader = kafka.by_password("reader")

    as_user(deployment, kafka.by_password("bridge"))
    listens = ("--listen", "127.0.0.1:0", "--quiet-seconds", "0.2")
    with deployment.running("bridge", "otlp", *listens) as bridge:
        bridge.await_log("listens at ")
        [url] = re.findall(r"listens at (\S+)", bridge.log)
        request = urllib.request.Request(url, trace, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=CLOSE_SECONDS) as answer:
            assert answer.status == 200
        bridge.wait_until(lambda: len(deployment.rows(RUN_EVENTS)) == 5, "its events")
        bridge.wait_until(lambda: _bridges_position(deployment) == 1, "its position")
        assert bridge.stop() == 143, bridge.log
    run_id = deployment.rows(RUN_EVENTS)[0]["run_id"]

    as_user(deployment, reader)
    with (
        deployment.running("tail", "--topic", "outcomes", "-n", "1") as tail,
        SiteProcess(deployment.environment, home=tmp_path / "site") as site,
    ):
        tail.await_log("following ")
        as_user(deployment, kafka.by_password("worker"))
        with deployment.running("worker") as worker:
            await_settled(deployment, worker, 1)
        assert tail.await_end() == 0, tail.log
        assert run_id in tail.log
        site.wait_for("/runs", lambda text: run_id in text)


def _bridges_position(deployment: Deployment) -> int:
    """How many records of spans it is done with."""
    names, count = deployment.names, deployment.settings.partitions
    consumer = bounded_consumer(deployment.settings, group=names.bridge_group)
    with closing(consumer):
        places = [TopicPartition(names.spans, partition) for partition in range(count)]
        found = consumer.committed(places, timeout=CLOSE_SECONDS)
    return sum(max(0, place.offset) for place in found)


COMMANDS: list[list[str]] = [
    ["topics", "apply"],
    ["topics", "migrate", "--from-prefix", "old."],
    ["topics", "acls", "--apply"],
    ["ingest", "events.jsonl"],
    ["worker"],
    ["worker", "--rebuild"],
    ["trainer", "--launcher", "none"],
    ["status"],
    ["explain", "r-1"],
    ["verify"],
    ["replay", "--from", "pairs", "--out", "out"],
    ["dlt", "list"],
    ["dlt", "replay"],
]


def test_every_command_says_a_wrong_password_in_one_line(
    deployment: Deployment, kafka: SecureKafka, pairstream: Pairstream, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"")
    wrong = {
        **deployment.environment,
        **kafka.by_password("worker", "SCRAM-SHA-512"),
        "PAIRSTREAM_SASL_PASSWORD": "not-this-one",
    }

    with ThreadPoolExecutor(4) as pool:
        ends = list(
            pool.map(lambda c: pairstream(*c, env=wrong, check=False, timeout=90), COMMANDS)
        )

    for command, end in zip(COMMANDS, ends, strict=True):
        assert end.returncode == 1, command
        [line] = end.stderr.splitlines()
        assert line.startswith("pairstream: the broker refused us: "), command
        assert "PAIRSTREAM_SASL_PASSWORD" in line
        assert "not-this-one" not in line


WRONG: dict[str, tuple[str, dict[str, str], type[PairstreamError], str]] = {
    "no such user": (
        "PLAIN", {"PAIRSTREAM_SASL_USERNAME": "nobody"}, PairstreamError, "SASL_USERNAME",
    ),
    "a wrong client secret": (
        "OAUTHBEARER",
        {"PAIRSTREAM_SASL_OAUTHBEARER_CLIENT_SECRET": "wrong"}, PairstreamError, "CLIENT_SECRET",
    ),
    "a token endpoint that does not answer": (
        "OAUTHBEARER",
        {"PAIRSTREAM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "http://127.0.0.1:1/token"},
        PairstreamError, "TOKEN_ENDPOINT_URL",
    ),
    "no client secret": (
        "OAUTHBEARER",
        {"PAIRSTREAM_SASL_OAUTHBEARER_CLIENT_SECRET": ""}, InvalidSettings, "client.secret",
    ),
    "a certificate of somebody else's": (
        "PLAIN", {"PAIRSTREAM_SSL_CA_LOCATION": ""}, PairstreamError, "SSL_CA_LOCATION",
    ),
    "a file of certificates that is not there": (
        "PLAIN", {"PAIRSTREAM_SSL_CA_LOCATION": "/not/there"}, InvalidSettings, "/not/there",
    ),
    "a wrong password of the key": (
        "certificate", {"PAIRSTREAM_SSL_KEY_PASSWORD": "wrong"}, InvalidSettings, "PAIRSTREAM_SSL",
    ),
    "no certificate of ours": (
        "certificate",
        {"PAIRSTREAM_SSL_CERTIFICATE_LOCATION": "", "PAIRSTREAM_SSL_KEY_LOCATION": ""},
        PairstreamError, "SSL_CERTIFICATE_LOCATION",
    ),
    "another protocol": (
        "PLAIN",
        {"PAIRSTREAM_SECURITY_PROTOCOL": "PLAINTEXT"}, PairstreamError, "SECURITY_PROTOCOL",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(deployment: Deployment, kafka: SecureKafka, case: str) -> None:
    way, changes, kind, named = WRONG[case]
    given = {**WAYS[way](kafka, "worker"), **changes}
    settings = settings_of(deployment, {name: value for name, value in given.items() if value})

    with pytest.raises(kind, match=named):
        Cluster(settings).partitions(wait_seconds=3)


def _forbid(deployment: Deployment, rule: Rule) -> None:
    made = binding(rule)
    wanted = AclBindingFilter(
        made.restype, made.name, made.resource_pattern_type, made.principal, made.host,
        made.operation, made.permission_type,
    )  # fmt: skip
    admin = AdminClient(clients.connection(deployment.settings))
    [gone] = admin.delete_acls([wanted]).values()
    assert len(gone.result()) == 1


@pytest.mark.parametrize("role", ["worker", "trainer"])
def test_without_any_of_its_acls_a_process_says_which_one_is_missing(
    deployment: Deployment, kafka: SecureKafka, role: Role
) -> None:
    settings = settings_of(deployment, kafka.by_password(role))
    cluster = Cluster(settings)
    needed = rules(role, f"User:{role}", deployment.names)
    assert len(needed) == sum(len(need.operations) for need in ROLES[role])

    def told() -> str:
        return complaint(cluster, settings, role)

    for rule in needed:
        _forbid(deployment, rule)
        wait_for(lambda: told() != "")
        assert f": {rule.operation} on {rule.resource} {rule.name}; " in told()
        apply_rules(Cluster(deployment.settings), [rule])
        wait_for(lambda: told() == "")


@pytest.mark.parametrize("role", ["worker", "trainer"])
def test_a_process_without_an_acl_ends_at_once(
    deployment: Deployment, kafka: SecureKafka, pairstream: Pairstream, role: Role
) -> None:
    settings = settings_of(deployment, kafka.by_password(role))
    _forbid(deployment, rules(role, f"User:{role}", deployment.names)[0])
    wait_for(lambda: complaint(Cluster(settings), settings, role) != "")

    end = pairstream(
        role, env={**deployment.environment, **kafka.by_password(role),
                   "PAIRSTREAM_LAUNCHER": "none"}, check=False
    )  # fmt: skip

    assert end.returncode == 1
    [line] = end.stderr.splitlines()
    assert line.startswith("pairstream: the brokers do not ")
    assert "`pairstream topics acls" in line


def test_the_doctor_calls_topics_that_may_not_be_seen_none_that_are_missing(
    deployment: Deployment, kafka: SecureKafka, pairstream: Pairstream
) -> None:
    end = pairstream(
        "doctor", "--json", "--launcher", "none",
        env={**deployment.environment, **kafka.by_password("agent")}, check=False,
    )  # fmt: skip

    [topics] = [each for each in orjson.loads(end.stdout)["findings"] if each["check"] == "topics"]
    assert topics["found"].startswith("the brokers do not let us see ")
    assert "`pairstream topics acls`" in topics["remedy"]


def test_a_broker_that_speaks_no_tls_is_asked_about(
    deployment: Deployment, kafka: SecureKafka
) -> None:
    given = {**kafka.by_password("worker"), "PAIRSTREAM_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}

    with pytest.raises(PairstreamError, match="and with TLS"):
        Cluster(settings_of(deployment, given)).partitions(wait_seconds=3)


def test_an_agent_without_its_acl_is_told(
    deployment: Deployment, kafka: SecureKafka, pairstream: Pairstream, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join(value + b"\n" for _, value in runs(0, 1) if value))
    [rule] = rules("agent", "User:agent", deployment.names)
    _forbid(deployment, rule)
    settings = settings_of(deployment, kafka.by_password("agent"))
    wait_for(lambda: complaint(Cluster(settings), settings, "agent") != "")

    end = pairstream(
        "ingest", events, env={**deployment.environment, **kafka.by_password("agent")}, check=False
    )

    assert end.returncode == 1
    assert deployment.names.topic(RUN_EVENTS) in end.stderr
    assert "pairstream topics acls" in end.stderr


def test_acls_are_applied_by_a_super_user_and_let_an_admin_do_its_work(
    deployment: Deployment, kafka: SecureKafka, pairstream: Pairstream
) -> None:
    """The admin's role goes to one who was nobody; under another prefix there is nothing yet."""
    names = Names(deployment.names.prefix + "new.")
    prefix = {**deployment.environment, "PAIRSTREAM_TOPIC_PREFIX": names.prefix}
    reader = {**prefix, **kafka.by_password("reader")}
    refused = pairstream("topics", "apply", env=reader, check=False)
    assert refused.returncode == 1
    assert "authorization failed" in refused.stderr.lower()
    [denied] = pairstream("topics", "acls", "--apply", env=reader, check=False).stderr.splitlines()
    assert "it takes a super user" in denied

    wanted = rules("admin", "User:reader", names)
    apply_rules(Cluster(deployment.settings), wanted)
    super_user = {**prefix, **kafka.by_password(ADMIN)}
    words = ("topics", "acls", "--apply", "--principal-prefix", "User:")
    made = pairstream(*words, env=super_user).stdout.splitlines()
    assert len(made) == sum(len(rules(role, role, names)) for role in ROLES)
    wait_for(lambda: pairstream("topics", "apply", env=reader, check=False).returncode == 0)
    settings = settings_of(deployment, {**prefix, **kafka.by_password("reader")})
    assert complaint(Cluster(settings), settings, "admin") == ""
    assert complaint(Cluster(settings), settings, "reader") == ""


def test_printed_acls_are_what_kafkas_own_tool_takes(
    deployment: Deployment, kafka: SecureKafka, tmp_path: Path
) -> None:
    """One line, with every kind of operation but WRITE, which the others have."""
    wanted = rules("admin", "User:by-the-tool", deployment.names)[:3]
    [line] = script(wanted, kafka.bootstrap_servers)
    (tmp_path / "admin.properties").touch()

    words = shlex.split(line)
    subprocess.run(
        kafka.command("org.apache.kafka.tools.AclCommand", *words[1:]), cwd=tmp_path, check=True
    )

    def made() -> set[AclOperation]:
        of_it = AclBindingFilter(
            ResourceType.TOPIC, None, ResourcePatternType.ANY, "User:by-the-tool", None,
            AclOperation.ANY, AclPermissionType.ANY,
        )  # fmt: skip
        admin = AdminClient(clients.connection(deployment.settings))
        return {found.operation for found in admin.describe_acls(of_it).result()}

    wait_for(lambda: made() == {AclOperation[rule.operation] for rule in wanted})
