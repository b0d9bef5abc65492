"""`pairstream spool`: what killed agents left is shown and sent; a living one is left alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairstream.settings_loader import load
from schemas.settings import KafkaSettings
from schemas.topics import RUN_EVENTS
from tests.commands.deployment import Deployment
from tests.conftest import Pairstream

# Records two runs for want of a broker, says so, and lives until it is ended.
AGENT = """
import sys
from pairstream_client import Publisher, RunRecorder

prompts = {part: [] for part in (
    "system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist"
)}
publisher = Publisher("127.0.0.1:1", spool=sys.argv[1], config={"message.max.bytes": 10_000_000})
for run_id in ("r-1", "r-2"):
    run = RunRecorder(prompts, run_id=run_id, publisher=publisher)
    run.propose("Print.").attempt("#" * int(sys.argv[2]), compiled=True, ran=True)
print("recorded", flush=True)
sys.stdin.read()
"""
EVENTS = 6


class Agents:
    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.living: list[subprocess.Popen[str]] = []

    def start(self, *, code_characters: int = 10) -> subprocess.Popen[str]:
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(self.spool), str(code_characters)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.living.append(agent)
        assert agent.stdout is not None
        assert agent.stdout.readline() == "recorded\n"
        return agent

    def end(self, agent: subprocess.Popen[str]) -> None:
        agent.kill()
        agent.communicate()
        self.living.remove(agent)

    def kill(self) -> None:
        for agent in list(self.living):
            self.end(agent)


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(tmp_path / "spool")
    agents.spool.mkdir()
    yield agents
    agents.kill()


def sent(deployment: Deployment) -> dict[str, list[str]]:
    """The types of the events of each run, as they stand in the topic."""
    runs: dict[str, list[str]] = {}
    for record in deployment.records(deployment.names.topic(RUN_EVENTS)):
        value, key = record.value(), record.key()
        assert value is not None
        assert key is not None
        runs.setdefault(key.decode(), []).append(json.loads(value)["type"])
    return runs


RECORDED = ["run.started", "strategy.proposed", "code.attempted"]


def test_events_of_a_killed_agent_are_sent_and_its_spool_is_removed(
    agents: Agents, deployment: Deployment
) -> None:
    agents.start()
    agents.kill()

    said = deployment.run("spool", "send", agents.spool)

    assert said == "6 events of 2 runs sent and acknowledged; 0 refused\n"
    assert sent(deployment) == {"r-1": RECORDED, "r-2": RECORDED}
    assert list(agents.spool.iterdir()) == []
    again = deployment.run("spool", "send", agents.spool)
    assert again == "0 events of 0 runs sent and acknowledged; 0 refused\n"


def test_a_living_agent_is_named_and_left_alone(agents: Agents, deployment: Deployment) -> None:
    agent = agents.start()
    agents.end(agents.start())

    said = deployment.run("spool", "send", agents.spool).splitlines()

    (folder,) = agents.spool.iterdir()
    assert said == [
        f"{folder.name}: left to process {agent.pid}, which lives and sends it",
        "6 events of 2 runs sent and acknowledged; 0 refused",
    ]
    assert sent(deployment) == {"r-1": RECORDED, "r-2": RECORDED}


def test_list_shows_what_is_kept(agents: Agents, pairstream: Pairstream) -> None:
    living = agents.start()
    (file,) = agents.spool.glob("*/*.jsonl")
    size = file.stat().st_size
    dead = agents.start()
    agents.end(dead)
    (torn,) = set(agents.spool.glob("*/*.jsonl")) - {file}
    torn.write_bytes(torn.read_bytes() + torn.read_bytes()[:100])
    environment = {"PAIRSTREAM_SPOOL_DIR": str(agents.spool)}

    facts = json.loads(pairstream("spool", "list", "--json", env=environment).stdout)
    lines = pairstream("spool", "list", env=environment).stdout.splitlines()

    common = {"events": EVENTS, "runs": 2}
    own = {"process_id": living.pid, "held_by": living.pid, "bytes": size, "damaged": 0}
    left = {"process_id": dead.pid, "held_by": None, "bytes": size + 100, "damaged": 1}
    names = {"own": file.parent.name, "left": torn.parent.name}
    by_name = {spool["name"]: spool for spool in facts["spools"]}
    assert facts["refused"] == 0
    assert by_name == {
        names["own"]: {"name": names["own"], **own, **common},
        names["left"]: {"name": names["left"], **left, **common},
    }
    assert set(lines) == {
        f"{names['own']}  held by process {living.pid}  6 events of 2 runs, {size} bytes",
        f"{names['left']}  ended  6 events of 2 runs, {size + 100} bytes, 1 damaged line",
    }


def test_an_empty_folder_keeps_nothing(pairstream: Pairstream, tmp_path: Path) -> None:
    assert pairstream("spool", "list", tmp_path).stdout == "nothing is kept\n"


def test_events_that_no_broker_takes_are_moved_aside_and_said(
    agents: Agents, deployment: Deployment, pairstream: Pairstream
) -> None:
    agents.start(code_characters=9_000_000)
    agents.kill()

    done = pairstream("spool", "send", agents.spool, env=environment_of(deployment), check=False)

    assert done.returncode == 1
    assert done.stdout == "4 events of 2 runs sent and acknowledged; 2 refused\n"
    assert "2 events refused (Broker: Message size too large; it is kept in" in done.stderr
    assert sent(deployment) == {"r-1": RECORDED[:2], "r-2": RECORDED[:2]}
    assert [path.name for path in agents.spool.iterdir()] == ["refused.jsonl"]
    kept = [json.loads(line) for line in (agents.spool / "refused.jsonl").open()]
    assert [line["key"] for line in kept] == ["r-1", "r-2"]
    listed = pairstream("spool", "list", agents.spool).stdout
    assert listed == "refused.jsonl  2 events that no broker will take\n"


def environment_of(deployment: Deployment) -> dict[str, str]:
    return {
        "PAIRSTREAM_BOOTSTRAP_SERVERS": deployment.settings.bootstrap_servers,
        "PAIRSTREAM_TOPIC_PREFIX": deployment.settings.topic_prefix,
    }


@pytest.mark.long
def test_without_a_broker_everything_is_left(agents: Agents, pairstream: Pairstream) -> None:
    agents.start()
    agents.kill()

    done = pairstream(
        "spool", "send", agents.spool, "--bootstrap-servers", "127.0.0.1:1", check=False
    )

    assert done.returncode == 1
    assert "no broker answers at 127.0.0.1:1" in done.stderr
    assert "6 events of 2 runs" in pairstream("spool", "list", agents.spool).stdout


def test_what_cannot_be_read_is_left_and_said(
    agents: Agents, deployment: Deployment, pairstream: Pairstream
) -> None:
    agents.start()
    agents.kill()
    (file,) = agents.spool.glob("*/*.jsonl")
    file.unlink()
    file.symlink_to(file)

    done = pairstream("spool", "send", agents.spool, env=environment_of(deployment), check=False)

    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Too many levels of symbolic links" in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["send"]])
def test_without_a_folder_the_usage_is_wrong(arguments: list[str], pairstream: Pairstream) -> None:
    done = pairstream("spool", *arguments, check=False)

    assert done.returncode == 2
    assert "[DIR]" in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["send"]])
def test_without_the_agents_library_it_says_what_to_install(
    arguments: list[str], tmp_path: Path
) -> None:
    """As where the service is installed alone: its packages are there, the library is not."""
    hide = "import sys; sys.modules['pairstream_client'] = None; sys.argv[0] = 'pairstream'\n"
    done = subprocess.run(
        [sys.executable, "-c", hide + "from pairstream.__main__ import main; main()",
         "spool", *arguments, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == (
        "pairstream: the spool is the agents' library's: pip install pairstream-client\n"
    )


def test_variables_of_the_library_are_no_mistakes_to_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They stand in one environment where both run."""
    monkeypatch.setenv("PAIRSTREAM_SPOOL_DIR", "spool")
    monkeypatch.setenv("PAIRSTREAM_SPOOL_FSYNC", "1")
    monkeypatch.setenv("PAIRSTREAM_SPOOL_MAX_BYTES", "1000000")

    assert load(KafkaSettings, None, {}) == KafkaSettings()
