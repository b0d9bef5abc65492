"""A training that means harm: what it tries from inside its container, and how far it comes."""

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from tests.containers.conftest import MakePlan
from tests.containers.small_image import DOCKERFILE, small_context
from tests.trainer.launcher_promises import followed, log_of, prepared_and_started
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer.datasets import read_manifest
from trainer.docker_launcher import DockerLauncher, container_spec
from trainer.gate_command import ask_command
from trainer.image import SCRIPT, BuildContext
from trainer.launcher import Ended, Plan
from trainer.training_manifest import CHECK_FAILED, Started, how_it_ended

pytestmark = pytest.mark.docker

STARTED = Started(datetime(2026, 11, 30, tzinfo=UTC), "docker", "sha256:0", "tag", "base", [])

# A program that runs as root for whoever starts it, where that is let be.
WITH_SETUID = DOCKERFILE.replace(
    b"USER ", b"RUN cp /usr/bin/id /usr/bin/root-id && chmod 4755 /usr/bin/root-id\nUSER "
)

TRIED = '''
import ctypes, errno, json, os, socket, subprocess, sys, time

ARGUMENTS = dict(zip(sys.argv[1::2], sys.argv[2::2]))

def tried(what):
    """What came of it, or the name of the error."""
    try:
        return what()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)

def tell(**found):
    print(json.dumps(found))
'''


@pytest.fixture
def listener() -> Iterator[int]:
    """A server of the host, on its loopback address: its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run_script(make_plan: MakePlan, script: str, *arguments: str) -> tuple[Plan, dict[str, Any]]:
    """A script's word on what it tried."""
    files = {**small_context().files, "Dockerfile": WITH_SETUID, SCRIPT: (TRIED + script).encode()}
    launcher, plan = DockerLauncher(), make_plan(*arguments, context=BuildContext(files))
    prepared_and_started(launcher, plan)
    assert followed(launcher, plan) == Ended(0), log_of(plan)
    return plan, json.loads(log_of(plan))


def test_the_network_is_out_of_reach(make_plan: MakePlan, listener: int) -> None:
    _, found = run_script(
        make_plan,
        """
def connect(address):
    socket.create_connection(address, timeout=5).close()
    return "connected"

tell(
    interfaces=[name for _, name in socket.if_nameindex()],
    routes=open("/proc/net/route").read().count("\\n") - 1,
    host=tried(lambda: connect(("127.0.0.1", int(ARGUMENTS["--port"])))),
    name=tried(lambda: connect(("pairstream.invalid", 443))),
    raw=tried(lambda: str(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))),
    engine=tried(lambda: str(os.stat("/var/run/docker.sock"))),
)
""",
        "--port",
        str(listener),
    )

    assert found == {
        "interfaces": ["lo"], "routes": 0, "host": "ECONNREFUSED", "name": "gaierror",
        "raw": "EPERM", "engine": "ENOENT",
    }  # fmt: skip


def test_it_becomes_nobody_else(make_plan: MakePlan) -> None:
    _, found = run_script(
        make_plan,
        """
user = subprocess.run(["/usr/bin/root-id", "-u"], capture_output=True, text=True).stdout
tell(
    setuid=tried(lambda: os.setuid(0)),
    setgid=tried(lambda: os.setgid(0)),
    setuid_program=int(user) == os.getuid() != 0,
    chown=tried(lambda: os.chown("/output", 0, 0)),
    device=tried(lambda: os.mknod("/output/device", 0o600 | 0o020000, os.makedev(1, 1))),
    shadow=tried(lambda: open("/etc/shadow").read()),
    mount=ctypes.CDLL(None).mount(b"none", b"/output", b"tmpfs", 0, None),
)
""",
    )

    assert found == {
        "setuid": "EPERM", "setgid": "EPERM", "setuid_program": True, "chown": "EPERM",
        "device": "EPERM", "shadow": "EACCES", "mount": -1,
    }  # fmt: skip


def test_it_forks_only_so_often(make_plan: MakePlan, docker_engine: DockerClient) -> None:
    plan = make_plan()
    limit = container_spec(plan, gpu=False, user="1000:1000")["pids_limit"]

    _, found = run_script(
        make_plan,
        """
count, error = 0, None
while count < 5000 and error is None:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
    except OSError as refused:
        error = errno.errorcode[refused.errno]
tell(count=count, error=error)
os._exit(0)
""",
    )

    assert found["error"] == "EAGAIN"
    assert limit - 10 < found["count"] < limit


def test_it_sees_nothing_of_the_trainer_and_of_other_datasets(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD", "s3cret-of-the-trainer")
    for other in (tmp_path / "other-dataset", tmp_path / "models" / "other-model"):
        other.mkdir(parents=True)
        (other / "train-of-another.jsonl").write_text("other")

    _, found = run_script(
        make_plan,
        """
def environment(number):
    try:
        return open(f"/proc/{number}/environ").read()
    except OSError:
        return ""

numbers = [name for name in os.listdir("/proc") if name.isdigit()]
found = [
    os.path.join(folder, name)
    for folder, folders, names in os.walk("/")
    if not folder.startswith(("/proc", "/sys"))
    for name in names
    if name == "train-of-another.jsonl"
]
tell(
    secrets=[number for number in numbers if "s3cret" in environment(number)],
    variables=sorted(name for name in os.environ if name.startswith(("PAIRSTREAM", "DOCKER"))),
    processes=len(numbers) < 5,
    others=found,
    above=sorted(set(os.listdir("/dataset/..")) & {"other-dataset", "models"}),
)
""",
    )

    assert found == {
        "secrets": [], "variables": [], "processes": True, "others": [], "above": [],
    }  # fmt: skip


def test_it_writes_into_its_own_folder_alone(make_plan: MakePlan) -> None:
    plan, found = run_script(
        make_plan,
        """
def write(folder):
    with open(os.path.join(folder, "written"), "w") as file:
        file.write("x")
    return "written"

places = ["/", "/etc", "/usr/bin", "/train_dpo", "/var/tmp", "/dev", "/root", "/home", "/proc",
          "/sys/fs/cgroup", "/dataset", "/base-model", "/output", "/tmp", "/dev/shm"]
outcome = {place: tried(lambda: write(place)) for place in places}
tell(written=sorted(place for place in places if outcome[place] == "written"))
""",
    )

    assert found == {"written": ["/dev/shm", "/output", "/tmp"]}
    assert not (plan.dataset / "written").exists()
    assert not (plan.base_model / "written").exists()


def test_links_that_it_leaves_lead_the_trainer_nowhere(make_plan: MakePlan, tmp_path: Path) -> None:
    victim, other = tmp_path / "victim", tmp_path / "models" / "other" / "adapter"
    victim.write_text("{}")
    other.mkdir(parents=True)
    (other / "adapter_model.safetensors").write_text("another's")
    script = """
import os
os.symlink("../../victim", "/output/way-out")
os.replace("/output/way-out", "/output/training.log")
os.symlink("../other/adapter", "/output/adapter")
os.symlink("../../victim", "/output/result.json")
os.symlink("../../victim", "/output/gate.log")
os.symlink("../../victim", "/output/link")
os.replace("/output/link", "/output/build.log")
os.symlink("../other", "/output/context")
print("done")
"""
    files = {**small_context().files, SCRIPT: script.encode()}
    launcher, plan = DockerLauncher(), make_plan(context=BuildContext(files))

    prepared_and_started(launcher, plan)
    ended = followed(launcher, plan)
    mark = f"# {uuid.uuid4()}\n".encode()  # it is not built yet
    again = replace(plan, context=BuildContext({**files, SCRIPT: script.encode() + mark}))
    again.context.write(again.folder / "context")
    launcher.prepare(again, lambda _: None)
    ask_command(["echo", "good enough"], plan.folder, seconds=60, stop=threading.Event())

    assert ended == Ended(0)
    assert (plan.folder / "gate.log").read_text() == f"good enough {plan.folder}\n"
    assert "Step 1/" in (plan.folder / "build.log").read_text()
    assert [path.name for path in other.parent.iterdir()] == ["adapter"]
    assert (plan.folder / "adapter" / "adapter_model.safetensors").is_file()
    assert victim.read_text() == "{}"
    assert log_of(plan) == "done\n"
    assert not (plan.folder / "training.log").is_symlink()
    dataset = read_manifest(publish(tmp_path / "data", make_pairs(3)).datasets / "ds-000001")
    manifest = how_it_ended(plan, dataset, STARTED, ended)
    assert manifest.exit_code == CHECK_FAILED
    assert manifest.figures is None
    assert set(manifest.files) == {"training.log"}
