"""The peers by name, each as the command that runs it."""

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
QUIX_REQUIREMENTS = HERE / "quix-requirements.txt"
VENVS = HERE.parent / ".venvs"


@dataclass(frozen=True)
class Peer:
    """A framework doing the worker's job.

    Attributes:
        python: the interpreter of its environment, which is made where it is missing.
        package: whose version is told.
    """

    name: str
    module: str
    package: str
    python: Callable[[], str]

    def command(self) -> tuple[str, ...]:
        return (self.python(), "-m", self.module)

    def version(self) -> str:
        code = f"from importlib.metadata import version; print(version({self.package!r}))"
        done = subprocess.run(
            [self.python(), "-c", code], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


def quix_python() -> str:
    """Of an environment with what its requirements pin; made once for each state of them."""
    pins = hashlib.sha256(QUIX_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = VENVS / f"quix-{pins}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        print(f"making {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--requirement"]
        subprocess.run([*pip, str(QUIX_REQUIREMENTS)], check=True)
        complete.touch()
    return str(python)


def _own_python() -> str:
    return sys.executable


QUIX = Peer("quix", "benchmarks.peers.quix", "quixstreams", quix_python)
STOCK_FAUST = Peer("stock_faust", "benchmarks.peers.stock_faust", "faust-streaming", _own_python)
AIOKAFKA = Peer("aiokafka", "benchmarks.peers.aiokafka_loop", "aiokafka", _own_python)

PEERS = (QUIX, STOCK_FAUST, AIOKAFKA)
