"""What the figures were measured on."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import confluent_kafka

from tests.apache_kafka import HEAP

PACKAGES = (
    "pairstream", "confluent-kafka", "aiokafka", "faust-streaming", "msgspec", "orjson"
)  # fmt: skip


def describe_machine(kafka_home: Path) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "broker": {"nodes": 1, "java_options": HEAP},
        "versions": {
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "kafka": kafka_version(kafka_home),
            "java": _java_version(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def load_average() -> float:
    """Over the last minute."""
    return os.getloadavg()[0]


def kafka_version(home: Path) -> str | None:
    """By the name of its main library."""
    for jar in sorted((home / "libs").glob("kafka-server-[0-9]*.jar")):
        return jar.stem.removeprefix("kafka-server-")
    return None


def _java_version() -> str:
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    return told.stderr.splitlines()[0]


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- Processes -----------------------------------------------------------------------------------

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """That a process has used until now, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_memory(pid: int) -> int:
    """Bytes that a process has held at most; 0 of one that has ended."""
    return _status_bytes(pid, "VmHWM")


def resident_memory(pid: int) -> int:
    """Bytes that a process holds; 0 of one that has ended."""
    return _status_bytes(pid, "VmRSS")


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def pin(pid: int, cores: set[int]) -> None:
    """All threads that a process has now; those to come inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)
