"""Datasets of a few short pairs, and the training script run in this process."""

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from trainer.train_dpo import data, training
from trainer.train_dpo.arguments import parse_arguments
from trainer.train_dpo.command import main, prepare_process
from trainer.train_dpo.data import EVAL, TRAIN, read_row
from trainer.train_dpo.model import load_tokenizer

PAIRS = 8

MakeDataset = Callable[..., Path]


@contextlib.contextmanager
def process_as_it_was() -> Iterator[None]:
    """The script owns its process: it sets variables, the umask and a handler of SIGTERM."""
    environment = dict(os.environ)
    handler = signal.getsignal(signal.SIGTERM)
    mask = os.umask(0o022)
    yield
    os.umask(mask)
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    with process_as_it_was():
        yield


@pytest.fixture(scope="session")
def training_packages() -> Iterator[None]:
    """What trains, imported as late as can be and told before to stay offline.

    One thread: for so small a model, two would mostly wait for each other.
    """
    if importlib.util.find_spec("trl") is None:
        missing("needs the packages that train: pip install 'pairstream[train]'")
    with process_as_it_was():
        prepare_process()
        import torch
        from trl import DPOTrainer  # noqa: F401

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def message(content: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": content}


def pair(number: int, **changes: object) -> dict[str, object]:
    """A row of a dataset, with two of the columns that nothing is learnt from."""
    row: dict[str, object] = {
        "pair_id": f"{number:032x}",
        "rule": "mixed_code",
        "prompt": [message(f"Print {number}.")],
        "chosen": [message(f"print({number})", "assistant")],
        "rejected": [message(f") {number} tnirp", "assistant")],
    }
    return {**row, **changes}


def response(content: str) -> list[dict[str, str]]:
    return [message(content, "assistant")]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """A published dataset of the given rows or lines: `make_dataset(train, held_out)`."""

    def make(
        train: list[dict[str, object] | str] | None = None,
        held_out: list[dict[str, object] | str] | None = None,
        *,
        name: str = "ds-000001",
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        files = {}
        train = list(map(pair, range(PAIRS))) if train is None else train
        for file, rows in ((TRAIN, train), (EVAL, held_out or [])):
            lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
            content = "".join(f"{line}\n" for line in lines).encode()
            (folder / file).write_bytes(content)
            files[file] = {"sha256": hashlib.sha256(content).hexdigest(), "rows": len(rows)}
        (folder / "manifest.json").write_text(json.dumps({"files": files}))
        return folder

    return make


@dataclass(frozen=True)
class Trained:
    """A run of the script that has ended."""

    code: int
    output: Path
    stderr: str

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.output / "metrics.jsonl").open()]

    @property
    def steps(self) -> list[dict[str, float]]:
        return [log for log in self.metrics if "loss" in log]

    @property
    def losses(self) -> list[float]:
        return [log["loss"] for log in self.steps]

    @cached_property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.output / "result.json").read_text())
        return result

    @property
    def weights(self) -> bytes:
        return (self.output / "adapter" / "adapter_model.safetensors").read_bytes()


Train = Callable[..., Trained]

# Two pairs a step, four steps an epoch; a rate at which so few steps show. DPO's own loss, whose
# first value is known, in a precision that every CPU has.
QUICK = ("--device", "cpu", "--gradient-accumulation", "2", "--learning-rate", "1e-2",
         "--loss-types", "sigmoid", "--loss-weights", "1", "--beta", "0.1",
         "--precision", "float32", "--early-stop", "0")  # fmt: skip


def flags(dataset: Path, base_model: Path, output: Path, *more: object) -> list[str]:
    folders = ("--dataset", dataset, "--base-model", base_model, "--output", output)
    return [str(flag) for flag in (*folders, *QUICK, *more)]


@pytest.fixture
def train(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """Run the script to its end: `train(dataset, "--flag", 1, output="a", base_model=folder)`."""

    def run(
        dataset: Path, *more: object, output: str = "output", base_model: Path = tiny_model
    ) -> Trained:
        folder = tmp_path / output
        with pytest.raises(SystemExit) as ended:
            main(flags(dataset, base_model, folder, *more))
        assert isinstance(ended.value.code, int)
        return Trained(ended.value.code, folder, capsys.readouterr().err)

    return run


@pytest.fixture
def arguments(tmp_path: Path, tiny_model: Path) -> Callable[..., Namespace]:
    """Parsed flags for parts of the script; the folder of the dataset need not be there."""

    def parse(*more: object, base_model: Path = tiny_model) -> Namespace:
        return parse_arguments(
            flags(tmp_path / "no-dataset", base_model, tmp_path / "parts", *more)
        )

    return parse


@pytest.fixture
def make_trainer(arguments: Callable[..., Namespace], tiny_model: Path) -> Callable[..., Any]:
    """TRL's trainer as the script makes it: `make_trainer(rows, "--flag", 1, loss_type=[...])`.

    Other keywords than `base_model` change TRL's configuration, to what the script would not set.
    """

    def make(
        rows: list[dict[str, object]],
        *more: object,
        base_model: Path = tiny_model,
        **config: object,
    ) -> Any:
        prepare_process()
        args = arguments(*more, base_model=base_model)
        tokenizer = load_tokenizer(args.base_model)
        share = data.prepare(
            [read_row(json.dumps(row).encode()) for row in rows],
            tokenizer,
            args.max_length,
        )
        trl_config = training.training_config(args, "cpu", args.max_length)
        for name, value in config.items():
            assert hasattr(trl_config, name)
            setattr(trl_config, name, value)
        return training.make_trainer(args, trl_config, "cpu", tokenizer, share.rows, [])

    return make
