"""One training at a time for each GPU of a host, whichever data directory it belongs to."""

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.settings import TrainingSettings
from tests.trainer.bench import Bench, Submit
from tests.waiting import wait_for
from trainer import gpu
from trainer.cancelling import TrainingInterrupted, wish_to_cancel
from trainer.gpu import WAITS, gpu_lock
from trainer.steps import read_wait


@pytest.fixture(autouse=True)
def _host_with_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("locks", "dev"):
        (tmp_path / name).mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(gpu, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(gpu, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(gpu, "POLL_SECONDS", 0.02)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("launcher", "device", "visible", "name"),
    [
        ("process", "auto", None, "0"),
        ("process", "cuda", None, "0"),
        ("process", "cpu", None, None),
        ("process", "auto", "2,3", "2"),
        ("process", "auto", "", None),
        ("process", "auto", "-1", None),
        ("process", "cuda", "GPU-8f/../x", "GPU-8f____x"),
        ("docker", "auto", "2", "0"),  # the engine gives its first one
        ("docker", "cuda", None, "0"),
        ("docker", "cpu", None, None),
        ("none", "auto", None, None),
    ],
)
def test_a_gpu_is_named_as_the_training_will_see_it(
    launcher: str, device: str, visible: str | None, name: str | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    settings = TrainingSettings(launcher=launcher, training_device=device)  # type: ignore[arg-type]

    expected = tmp_path / "locks" / f"pairstream-gpu-{name}.lock"
    assert gpu_lock(settings) == (expected if name else None)


def test_a_host_without_a_gpu_has_no_lock_unless_one_is_demanded(tmp_path: Path) -> None:
    (tmp_path / "dev" / "nvidia0").unlink()
    (tmp_path / "dev" / "nvidiactl").touch()

    assert gpu_lock(TrainingSettings(launcher="process")) is None
    assert gpu_lock(TrainingSettings(launcher="process", training_device="cuda")) is not None


@pytest.fixture
def others(tmp_path: Path) -> Bench:
    """A second data directory."""
    root = tmp_path / "others"
    root.mkdir()
    return Bench(root)


def test_two_data_directories_of_a_host_queue_up_for_its_gpu(
    bench: Bench, others: Bench, in_background: Submit
) -> None:
    first = in_background()
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(others.run)
        wait_for(lambda: read_wait(others.folder) is not None)
        wait = read_wait(others.folder)
        assert wait is not None
        assert wait.why == WAITS
        assert others.notes() == []
        (bench.root / "gate").touch()

        assert first.result(30).succeeded
        assert second.result(30).succeeded
    assert others.counts() == ["started", "ended"]
    assert read_wait(others.folder) is None


@pytest.fixture
def taken() -> Iterator[None]:
    """By a training of another data directory."""
    lock = gpu_lock(TrainingSettings(launcher="process"))
    assert lock is not None
    handle = os.open(lock, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


@pytest.mark.usefixtures("taken")
def test_a_training_that_waits_for_the_gpu_can_be_cancelled(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bench.run)
        try:
            wait_for(lambda: read_wait(bench.folder) is not None)
            wish_to_cancel(bench.folder, "")
            assert waiting.result(30).why == "cancelled"
        finally:
            bench.stop.set()  # else a failure here would wait for the GPU for ever
    assert bench.notes() == []
    assert read_wait(bench.folder) is None


@pytest.mark.usefixtures("taken")
def test_a_trainer_that_stops_while_it_waits_for_the_gpu_starts_nothing(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bench.run)
        try:
            wait_for(lambda: read_wait(bench.folder) is not None)
        finally:
            bench.stop.set()

        with pytest.raises(TrainingInterrupted):
            waiting.result(30)
    assert bench.notes() == []


def test_a_training_that_runs_already_is_followed_though_another_one_has_the_lock_now(
    bench: Bench, in_background: Submit, request: pytest.FixtureRequest
) -> None:
    bench.leave(in_background())
    request.getfixturevalue("taken")

    followed = in_background()
    wait_for(lambda: [step for step, _ in bench.steps].count("started") == 2)
    (bench.root / "gate").touch()
    assert followed.result(30).succeeded
    assert bench.counts() == ["started", "ended"]


def test_a_link_in_the_place_of_a_lock_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    lock = gpu_lock(bench.settings())
    assert lock is not None
    lock.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        bench.run()
    assert not (tmp_path / "elsewhere").exists()
