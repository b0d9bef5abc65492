"""The script as a process of its own: signals, exit codes, and no word to the outside."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import MakeDataset, Trained, flags, pair
from trainer.train_dpo.model import NO_KERNEL

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

SECONDS = 120

SCRIPT = Path(__file__).parents[2] / "trainer" / "train_dpo" / "__main__.py"

NETWORK_USED, TOLD_TOO_LATE = 98, 97

# Runs a script under watch: it ends when anything asks for the network, and when a library that
# phones home is imported before it was told not to. After the second step it waits for a line, so
# that what its parent does then comes at that step. `careless` leaves out the script's care.
WATCH = f"""
import builtins, importlib, os, pathlib, runpy, sys

script, careless = sys.argv[1], sys.argv[2] == "careless"
sys.argv = [script, *sys.argv[3:]]

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        os._exit({NETWORK_USED})
    if event == "import" and args[0] in ("huggingface_hub", "transformers", "datasets", "trl"):
        names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
        if any(os.environ.get(name) != "1" for name in names) and not careless:
            os._exit({TOLD_TOO_LATE})

def print_and_wait(text):
    show(text)
    if text.startswith("step 2/"):
        sys.stdin.readline()

show, builtins.print = print, print_and_wait
sys.addaudithook(watch)
if careless:
    runpy.run_path(script)["make_known"](pathlib.Path(script).parent)
    command = importlib.import_module("train_dpo.command")
    command.prepare_process = lambda: None
    command.main()
else:
    sys.path.insert(0, os.path.dirname(script))  # as Python does for a script
    runpy.run_path(script, run_name="__main__")
"""


def start(arguments: list[str], home: Path, *, careless: bool = False) -> subprocess.Popen[str]:
    """As the launchers start it: unbuffered, with little in the environment, and a shy umask."""
    kind = "careless" if careless else "careful"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", WATCH, str(SCRIPT), kind, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=0o077,
    )


def finish(process: subprocess.Popen[str], output: Path) -> Trained:
    _, stderr = process.communicate(timeout=SECONDS)
    return Trained(process.returncode, output, stderr)


@pytest.fixture
def arguments(make_dataset: MakeDataset, tiny_model: Path, tmp_path: Path) -> list[str]:
    dataset = make_dataset(None, [pair(8)])
    return flags(dataset, tiny_model, tmp_path / "output")


def test_sigterm_keeps_a_checkpoint_and_the_next_start_finishes_offline(
    arguments: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with start(arguments, tmp_path) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("step 2/"):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        stopped = finish(process, output)
    assert stopped.code == 143, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == (
        "train_dpo: stopped: a start with the same output goes on from here"
    )
    assert [path.name for path in (output / "checkpoints").glob("checkpoint-*")] == ["checkpoint-3"]
    assert not (output / "result.json").exists()
    assert NO_KERNEL not in stopped.stderr  # said on CPUs with AVX512-BF16 alone

    with start(arguments, tmp_path) as process:
        resumed = finish(process, output)
    assert resumed.code == 0, resumed.stderr
    assert [log["step"] for log in resumed.steps] == [1, 2, 3, 4]
    assert resumed.result["evaluation"]["eval_loss"] > 0
    for path in (output, *output.glob("*"), *(output / "adapter").glob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_libraries_would_use_the_network_if_they_were_let(
    arguments: list[str], tmp_path: Path
) -> None:
    with start(arguments, tmp_path, careless=True) as process:
        assert finish(process, tmp_path / "output").code == NETWORK_USED
