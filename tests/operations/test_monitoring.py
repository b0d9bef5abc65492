"""What is shipped for Prometheus and Grafana fits what the processes serve, and alerts fire."""

import json
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from pairstream.cluster import Cluster, apply_topics
from schemas.settings import TrainerSettings, WorkerSettings
from schemas.topics import PAIRS, RUN_EVENTS
from streams.broker import EmbeddedBroker
from streams.partition import Partition
from streams.vitals import WorkerVitals
from tests.commands.deployment import mixed_run
from tests.kafka.services import Deployment, records
from tests.operations.exposition import get, named_metrics, samples
from trainer.vitals import TrainerVitals

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
UNIT_TESTS = Path(__file__).with_name("alerts_test.yml")
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "pairstream.json").read_text())

WAIT_SECONDS = 60.0

GONE = (503, "no broker answers\n")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def served() -> set[str]:
    """Every metric that a worker or a trainer tells, by the names that queries use."""
    vitals = (WorkerVitals(WorkerSettings()), TrainerVitals(TrainerSettings()))
    text = "".join(generate_latest(each.registry).decode() for each in vitals)
    # Its families without a sample are named in their comments.
    return set(samples(text)) | {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")
    }


def recorded() -> set[str]:
    return {name for rule in rules() for name in named_metrics(rule.get("record", ""))}


def test_every_metric_of_the_alerts_is_served() -> None:
    for rule in rules():
        asked = named_metrics(rule["expr"])
        assert asked, rule
        assert asked <= served() | recorded(), rule


def test_every_metric_of_the_dashboard_is_served() -> None:
    queries = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
    ]
    asked = {name for query in queries for name in named_metrics(query)}

    assert len(queries) > 20
    assert asked <= served()


def test_the_dashboard_shows_every_metric_that_is_served() -> None:
    queries = "".join(json.dumps(panel) for panel in DASHBOARD["panels"])

    assert {name for name in served() if name.endswith("_bytes") or name.endswith("_total")} <= (
        named_metrics(queries)
    )


def test_panels_ask_the_data_source_that_is_provisioned() -> None:
    sources = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"]
    asked = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if panel["type"] != "row"}

    assert asked == {source["uid"] for source in sources}


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    taken = set[tuple[int, int]]()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_leads_to_a_section_and_has_a_unit_test() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    headings = {
        line.removeprefix("## ").lower().replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("## ")
    }
    tested = {
        alert["alertname"]
        for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"]
        for alert in test["alert_rule_test"]
        if alert.get("exp_alerts")
    }
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}

    assert set(alerts) == tested
    for alert in alerts.values():
        name, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert name == "docs/monitoring.md"
        assert anchor in headings


def test_the_rules_do_what_their_unit_tests_say(promtool: str) -> None:
    for words in (["check", "rules", str(RULES)], ["test", "rules", str(UNIT_TESTS)]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_shipped_for_prometheus_is_read_by_it(promtool: str) -> None:
    config = DEPLOY / "prometheus" / "prometheus.yml"
    done = subprocess.run(
        [promtool, "check", "config", str(config)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_dead_letters_of_a_worker_fire_the_alert(
    embedded_broker: str, prefix: str, tmp_path: Path, prometheus: str
) -> None:
    deployment = Deployment(embedded_broker, prefix, tmp_path, partitions=1)
    list(apply_topics(Cluster(deployment.settings), deployment.settings))
    port = free_port()
    with deployment.running("worker", http_port=str(port)) as worker:
        worker.await_log("http_serving")
        worker.wait_until(lambda: get(port, "/readyz")[0] == 200, "readiness")
        assert get(port, "/livez") == (200, "ok\n")
        with scraping(prometheus, tmp_path, port) as ask:
            topic = deployment.names.topic(RUN_EVENTS)
            refused = f'pairstream_events_rejected_total{{topic="{topic}"}}'
            worker.wait_until(lambda: bool(values(ask, refused)), "a first scrape")
            assert set(values(ask, refused)) == {0.0}
            assert "PairstreamDeadLettersRise" not in firing(ask)

            deployment.send([*records(mixed_run("r-1")), *[(b"r-2", b"{no event")] * 20])

            worker.wait_until(lambda: "PairstreamDeadLettersRise" in firing(ask), "the alert")
            assert max(values(ask, refused)) == 20
            assert values(ask, 'pairstream_runs_closed_total{outcome="paired"}') == [1]
            assert values(ask, "sum(pairstream_consumer_lag_records) >= 0") != []
            assert "PairstreamWorkersGone" not in firing(ask)
        assert worker.stop() == 0


def test_workers_that_wait_for_brokers_are_live_and_not_ready(prefix: str, tmp_path: Path) -> None:
    """The second one stands by: there is no partition for it."""
    ports = (free_port(), free_port())
    with ExitStack() as stack:
        with EmbeddedBroker() as broker:
            deployment = Deployment(broker.bootstrap_servers, prefix, tmp_path, partitions=1)
            list(apply_topics(Cluster(deployment.settings), deployment.settings))
            workers = [
                stack.enter_context(deployment.running("worker", http_port=str(port)))
                for port in ports
            ]
            for worker, port in zip(workers, ports, strict=True):
                worker.await_log("http_serving")
                worker.wait_until(lambda port=port: get(port, "/readyz")[0] == 200, "readiness")
        for worker, port in zip(workers, ports, strict=True):
            worker.wait_until(lambda port=port: get(port, "/readyz") == GONE, "its word")
            assert get(port, "/livez") == (200, "ok\n")
            assert worker.process.poll() is None


def test_a_trainer_tells_what_it_took_in_and_refused(
    embedded_broker: str, prefix: str, tmp_path: Path
) -> None:
    deployment = Deployment(embedded_broker, prefix, tmp_path, partitions=2)
    list(apply_topics(Cluster(deployment.settings), deployment.settings))
    runs = Partition(extended=False)
    effects = runs.apply(
        [(*record, offset) for offset, record in enumerate(records(mixed_run("r-1")))], now_ms=0
    )
    pairs = [(key, value) for topic, key, value in effects.rows if topic is PAIRS]
    port = free_port()
    settings = {"http_port": str(port), "trigger_pairs": "7", "launcher": "none"}
    with deployment.running("trainer", **settings) as trainer:
        trainer.await_log("http_serving")
        trainer.wait_until(lambda: get(port, "/readyz")[0] == 200, "readiness")
        deployment.send([*pairs, (b"r-2", b"no pair")], PAIRS)

        def metric(name: str) -> list[float]:
            return list(samples(get(port, "/metrics")[1])[name].values())

        trainer.wait_until(
            lambda: sum(metric("pairstream_events_rejected_total")) == 1, "the refused one"
        )
        trainer.wait_until(lambda: metric("pairstream_new_pairs") == [1], "the pair")
        assert metric("pairstream_rows_batched_total") == [1]
        assert metric("pairstream_trigger_pairs") == [7]
        assert metric("pairstream_batch_age_seconds")[0] > 0
        trainer.wait_until(
            lambda: metric("pairstream_consumer_lag_records") == [0, 0], "the end of the lag"
        )
        assert get(port, "/livez") == (200, "ok\n")
        assert trainer.stop() == 0


Ask = Callable[[str], Any]


@contextmanager
def scraping(program: str, folder: Path, target: int) -> Iterator[Ask]:
    """Prometheus with the shipped rules, looking every second; gives its API."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "w", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    words = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        _await_ready(process, port, folder / "prometheus.log")
        yield lambda path: json.loads(get(port, f"/api/v1/{path}")[1])["data"]
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def _await_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if get(port, "/-/ready")[0] == 200:
                return
        except OSError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def values(ask: Ask, query: str) -> list[float]:
    found = ask(f"query?{urllib.parse.urlencode({'query': query})}")["result"]
    return [float(each["value"][1]) for each in found]


def firing(ask: Ask) -> set[str]:
    return {
        alert["labels"]["alertname"]
        for alert in ask("alerts")["alerts"]
        if alert["state"] == "firing"
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_name_no_job(rule: dict[str, Any]) -> None:
    assert "job" not in rule["expr"]
