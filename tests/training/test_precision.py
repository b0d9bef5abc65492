"""Adapters in full precision, and trainings that go on where they stopped."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import PAIRS, MakeDataset, Train, Trained, pair
from trainer.train_dpo.model import load_tokenizer
from trainer.train_dpo.recorder import check_log
from trainer.train_dpo.refusals import BAD_DATA, STOPPED
from trainer.train_dpo.training import last_checkpoint

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]


def adapters(trainer: Any) -> dict[str, Any]:
    return {
        name: parameter.detach().clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }


def share_changed(make_trainer: Callable[..., Any]) -> float:
    """How much of the matrices that start at random changes in three steps of a usual rate."""
    trainer = make_trainer(list(map(pair, range(PAIRS))), "--learning-rate", 1e-6,
                           "--max-steps", 3)  # fmt: skip
    before = adapters(trainer)
    trainer.train()
    changed = total = 0
    for name, after in adapters(trainer).items():
        if "lora_A" in name:
            changed += int((after != before[name]).sum())
            total += after.numel()
    return changed / total


def test_small_steps_change_the_adapters(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    kinds = {weight.dtype for weight in adapters(make_trainer([pair(0)])).values()}
    assert kinds == {torch.float32}
    assert share_changed(make_trainer) > 0.9

    monkeypatch.setattr("trainer.train_dpo.training.train_in_full_precision", lambda _: None)
    kinds = {weight.dtype for weight in adapters(make_trainer([pair(0)])).values()}
    assert kinds == {torch.bfloat16}
    assert share_changed(make_trainer) < 0.1


# --- Going on ------------------------------------------------------------------------------------


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have SIGTERM come while the given step is under way, once."""
    check = check_log

    def arm(step: int) -> None:
        def check_and_stop(log: dict[str, float], *, pure: bool) -> None:
            check(log, pure=pure)
            if log["step"] == step - 1 and "loss" in log:
                os.kill(os.getpid(), signal.SIGTERM)
                monkeypatch.setattr("trainer.train_dpo.recorder.check_log", check)

        monkeypatch.setattr("trainer.train_dpo.recorder.check_log", check_and_stop)

    return arm


def stop_and_go_on(
    train: Train, dataset: Path, stop_after: Callable[[int], None], *flags: object, output: str
) -> Trained:
    stop_after(2)
    stopped = train(dataset, *flags, output=output)
    assert stopped.code == STOPPED
    assert [path.name for path in (stopped.output / "checkpoints").glob("checkpoint-*")] == [
        "checkpoint-2"
    ]
    assert len(stopped.losses) == 2
    assert not (stopped.output / "result.json").exists()
    resumed = train(dataset, *flags, output=output)
    assert resumed.code == 0
    return resumed


def without_times(metrics: list[dict[str, float]]) -> list[dict[str, float]]:
    """What must not differ: all but durations, and the count of tokens, which starts anew."""
    return [
        {
            key: value
            for key, value in log.items()
            if not key.endswith(("_time", "_runtime", "_per_second", "num_tokens"))
        }
        for log in metrics
        if "train_loss" not in log
    ]


# What the settings say by themselves, where batches hold several pairs and epochs are several.
USUAL = ("--loss-types", "sigmoid,sft", "--loss-weights", "1,0.2", "--beta", 0.3,
         "--precision", "auto", "--batch-size", 2, "--epochs", 2)  # fmt: skip


@pytest.mark.parametrize(
    "flags", [(), USUAL, ("--init-adapter",)], ids=["plain", "usual", "continued"]
)
def test_stopped_training_goes_on_bit_for_bit(
    make_dataset: MakeDataset,
    train: Train,
    stop_after: Callable[[int], None],
    flags: tuple[object, ...],
) -> None:
    dataset = make_dataset(None, [pair(9)])
    if "--init-adapter" in flags:
        first = train(make_dataset(name="first"), "--max-steps", 2, output="first-round")
        flags = (*flags, first.output / "adapter")
    straight = train(dataset, *flags, output="straight")
    resumed = stop_and_go_on(train, dataset, stop_after, *flags, output="resumed")
    assert len(straight.losses) == 4
    assert without_times(resumed.metrics) == without_times(straight.metrics)
    assert resumed.weights == straight.weights
    assert straight.result["precomputed_reference"] == ("--epochs" in flags)
    assert straight.result["first_margin"] == pytest.approx(0, abs=0.01)
    for name in ("first_loss", "first_margin", "adapted_layers", "parameters", "gate"):
        assert resumed.result[name] == straight.result[name]


def test_adapters_in_bfloat16_would_go_on_otherwise(
    make_dataset: MakeDataset,
    train: Train,
    stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = make_dataset(None, [pair(9)])
    monkeypatch.setattr("trainer.train_dpo.training.train_in_full_precision", lambda _: None)
    straight = train(dataset, output="bf16-straight")
    resumed = stop_and_go_on(train, dataset, stop_after, output="bf16-resumed")
    assert resumed.losses[:2] == straight.losses[:2]
    assert resumed.losses[2:] != straight.losses[2:]


def kill_before_the_end(
    train: Train, dataset: Path, monkeypatch: pytest.MonkeyPatch, *, output: str
) -> None:
    """End in the middle of an epoch, after the last step and before there is a result."""

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("trainer.train_dpo.command.save_adapter", die)
        with pytest.raises(Killed):
            train(dataset, "--max-steps", 3, output=output)


def test_training_that_only_lacks_its_end_gets_no_further_step(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(None, [pair(9)])
    straight = train(dataset, "--max-steps", 3, output="straight")
    kill_before_the_end(train, dataset, monkeypatch, output="killed")
    finished = train(dataset, "--max-steps", 3, output="killed")
    assert finished.code == 0
    assert without_times(finished.metrics) == without_times(straight.metrics)
    assert finished.weights == straight.weights
    assert finished.result["evaluation"]["eval_loss"] == straight.result["evaluation"]["eval_loss"]
    assert finished.result["gate"] == straight.result["gate"]

    kill_before_the_end(train, dataset, monkeypatch, output="uncured")
    checkpoint, _ = last_checkpoint(finished.output.with_name("uncured") / "checkpoints")
    in_the_middle = type("State", (), {"global_step": 0, "max_steps": 3})
    monkeypatch.setattr(
        "trainer.train_dpo.training.last_checkpoint", lambda _: (checkpoint, in_the_middle)
    )
    uncured = train(dataset, "--max-steps", 3, output="uncured")
    assert [log["step"] for log in uncured.steps] == [1, 2, 3, 4]


class Bomb:
    """Made from a pickle, it leaves a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self._folder),))


@pytest.mark.parametrize("state", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_state_that_would_run_something_is_refused_and_does_not(
    make_dataset: MakeDataset,
    train: Train,
    stop_after: Callable[[int], None],
    tmp_path: Path,
    state: str,
) -> None:
    import torch

    dataset = make_dataset()
    stop_after(2)
    stopped = train(dataset)
    checkpoint = stopped.output / "checkpoints" / "checkpoint-2"
    assert (checkpoint / state).is_file()
    torch.save(Bomb(tmp_path / "ran"), checkpoint / state)

    resumed = train(dataset)

    assert resumed.code == BAD_DATA
    assert f"{checkpoint} holds more than a training's state" in resumed.stderr
    assert not (tmp_path / "ran").exists()
    torch.load(checkpoint / state, weights_only=False)
    assert (tmp_path / "ran").exists(), "else there was nothing to refuse"


def test_what_a_kill_left_half_written_is_passed_over(
    make_dataset: MakeDataset, train: Train, stop_after: Callable[[int], None]
) -> None:
    from transformers.trainer_utils import get_last_checkpoint

    dataset = make_dataset()
    straight = train(dataset, output="straight")
    stop_after(2)
    killed = train(dataset, output="killed").output
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step":3,"steps":4,"loss":0.1}\n{"step":4,"ste')
    checkpoints = killed / "checkpoints"
    for name, state in (("checkpoint-3", '{"global_step": 3, "max_st'), ("checkpoint-4", None)):
        shutil.copytree(checkpoints / "checkpoint-2", checkpoints / name)
        (checkpoints / name / "trainer_state.json").unlink()
        if state is not None:
            (checkpoints / name / "trainer_state.json").write_text(state)
    assert last_checkpoint(checkpoints)[0] == checkpoints / "checkpoint-2"
    assert get_last_checkpoint(str(checkpoints)) == str(checkpoints / "checkpoint-4")
    resumed = train(dataset, output="killed")
    assert (resumed.code, resumed.losses) == (0, straight.losses)


def test_stop_outside_of_training_ends_at_once(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_tokenizer

    def stop_and_load(folder: Path) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return load(folder)

    monkeypatch.setattr("trainer.train_dpo.command.load_tokenizer", stop_and_load)
    stopped = train(make_dataset())
    assert stopped.code == STOPPED
    assert list(stopped.output.iterdir()) == []
