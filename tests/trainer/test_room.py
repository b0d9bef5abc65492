"""Disk and memory are asked for before a training starts, not hours into it."""

from pathlib import Path

import msgspec
import pytest

from schemas.settings import TrainerSettings, convert
from tests.trainer.bench import Bench
from trainer import room
from trainer.launcher import EngineUnavailable
from trainer.room import as_bytes, available_memory, disk_wanted, memory_wanted

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("2k", 2048), ("3M", 3 * 2**20), ("1g", GIB)],
)
def test_sizes_are_bytes_or_have_a_unit(text: str, size: int) -> None:
    assert as_bytes(text) == size


@pytest.mark.parametrize("text", ["", "g", "1t", "-1", "1.5g", "OFF", "1g\n"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="spare_disk"):
        convert({"training_spare_disk": text}, TrainerSettings)


@pytest.mark.parametrize(
    ("given", "on_gpu", "disk", "memory"),
    [
        ({}, False, 5 * GIB, GIB + GIB // 2),  # in 4 bits
        ({"training_quantization": "none"}, False, 5 * GIB, 4 * GIB + GIB // 2),
        ({"training_quantization": "none"}, True, 5 * GIB, GIB // 2),
        ({"training_spare_disk": "0", "training_spare_memory": "0"}, False, 4 * GIB, GIB),
        ({"training_spare_disk": "off", "training_spare_memory": "off"}, False, 0, 0),
    ],
)
def test_what_a_base_model_of_four_gib_wants(
    given: dict[str, str], on_gpu: bool, disk: int, memory: int
) -> None:
    settings = convert(given, TrainerSettings)

    assert disk_wanted(4 * GIB, settings) == disk
    assert memory_wanted(4 * GIB, settings, on_gpu=on_gpu) == memory


def test_memory_is_what_the_kernel_says_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MEMORY", tmp_path / "meminfo")
    assert available_memory() is None
    room.MEMORY.write_text("MemTotal:       99 kB\nMemAvailable:    2 kB\n")
    assert available_memory() == 2048
    room.MEMORY.write_text("MemTotal:       99 kB\n")
    assert available_memory() is None


@pytest.mark.parametrize(
    ("setting", "what"),
    [("training_spare_disk", "disk"), ("training_spare_memory", "memory")],
)
def test_a_training_without_room_is_postponed_with_what_to_do_and_starts_when_there_is_some(
    setting: str, what: str, bench: Bench
) -> None:
    with pytest.raises(
        EngineUnavailable, match=f"too little {what}: 999999.0 GiB are .* or lower PAIRSTREAM_TRA"
    ):
        bench.run(**{setting: "999999g"})
    assert not bench.notes()
    assert bench.steps == []

    assert bench.run(**{setting: "off"}).succeeded


def test_a_training_that_runs_is_followed_whatever_room_there_is(bench: Bench) -> None:
    (bench.root / "gate").touch()
    bench.run()

    assert bench.run(training_spare_disk="999999g").succeeded
    assert bench.counts() == ["started", "ended"]
