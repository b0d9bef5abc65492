"""Many requests at once, with `corrupt` in the place of a model that gives nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pairstream.settings_loader import load
from schemas.errors import InvalidSettings
from schemas.rows import encode, parse_pair
from schemas.settings import GarblingSettings, WorkerSettings
from streams.garblers import WAVES, Corrupting, Sampling, open_garblers
from streams.garbling import corrupt, garbled_pair
from streams.high_temperature import Ask, ModelFailed, NoSample
from streams.stand_ins import FAILURES_IN_A_ROW
from tests.streams.asked import garble_request

TEXT = "Sweep a quilted lantern, or shout at small barns twice."


class FakeModel:
    """Answers by `say`, and counts."""

    def __init__(self, say: Callable[[Ask], str], at_once: int = 2) -> None:
        self.at_once = at_once
        self.asked: list[Ask] = []
        self.most_at_once = 0
        self._say = say
        self._now = 0

    async def sample(self, ask: Ask) -> str:
        self.asked.append(ask)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        for _ in range(5):  # others get their turn
            await asyncio.sleep(0)
        self._now -= 1
        return self._say(ask)

    async def aclose(self) -> None:
        """Nothing is open."""


REQUESTS = [garble_request(f"r-{number}") for number in range(20)]
CORRUPTED = [garbled_pair(request, corrupt) for request in REQUESTS]


def failing(error: Exception) -> Callable[[Ask], str]:
    def say(_: Ask) -> str:
        raise error

    return say


def test_each_request_gets_its_own_text_in_the_order_asked() -> None:
    model = FakeModel(lambda ask: f"{ask.seed} {TEXT}")

    pairs = asyncio.run(Sampling(model).pairs(REQUESTS))

    assert [pair.pair_id for pair in pairs] == [request.pair.pair_id for request in REQUESTS]
    for pair, ask in zip(pairs, model.asked, strict=True):
        assert pair.rejected[0].content.startswith(f"{ask.seed} ")
        assert pair.garbler == "high_temperature"
        assert parse_pair(encode(pair)) == pair


def test_no_more_are_asked_for_at_once_than_the_model_takes() -> None:
    model = FakeModel(lambda _: TEXT, at_once=3)
    sampling = Sampling(model)

    asyncio.run(sampling.pairs(REQUESTS))

    assert model.most_at_once == 3
    assert sampling.batch == 3 * WAVES


@pytest.mark.parametrize("error", [NoSample("over_budget"), ModelFailed("timed_out")])
def test_corrupt_stands_in_to_the_byte_where_the_model_gives_nothing(error: NoSample) -> None:
    sampling = Sampling(FakeModel(failing(error)))

    pairs = asyncio.run(sampling.pairs(REQUESTS))

    assert list(map(encode, pairs)) == list(map(encode, CORRUPTED))
    assert sampling.stand_ins.reasons.total() == len(REQUESTS)
    assert sampling.stand_ins.reasons[error.reason] >= FAILURES_IN_A_ROW


def test_a_model_that_fails_again_and_again_is_left_alone() -> None:
    model = FakeModel(failing(ModelFailed("timed_out")), at_once=1)
    sampling = Sampling(model)

    asyncio.run(sampling.pairs(REQUESTS))

    assert len(model.asked) == FAILURES_IN_A_ROW
    rested = len(REQUESTS) - FAILURES_IN_A_ROW
    assert sampling.stand_ins.reasons == {"timed_out": FAILURES_IN_A_ROW, "model_rests": rested}


def test_texts_that_may_not_stand_do_not_make_a_model_rest() -> None:
    model = FakeModel(lambda ask: ask.good)
    sampling = Sampling(model)

    pairs = asyncio.run(sampling.pairs(REQUESTS))

    assert pairs == CORRUPTED
    assert len(model.asked) == len(REQUESTS)
    assert sampling.stand_ins.reasons == {"same_text": len(REQUESTS)}


def test_a_defect_is_no_reason_for_a_stand_in() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Sampling(FakeModel(lambda _: str(1 // 0))).pairs(REQUESTS))


def test_default_garbler_needs_no_model() -> None:
    garblers = open_garblers(WorkerSettings())

    assert isinstance(garblers, Corrupting)
    assert asyncio.run(garblers.pairs(REQUESTS)) == CORRUPTED


# --- Settings ------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What looks like a model from outside."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


URL = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "set PAIRSTREAM_GARBLER_MODEL to the folder"),
        ({"garbler_url": URL}, "and PAIRSTREAM_GARBLER_MODEL to the model's name there"),
        ({"garbler_model": "no/folder"}, "no/folder is no folder with a transformers model"),
        ({"garbler_model": "m", "garbler_url": "127.0.0.1:8000/v1"}, "must be like https://"),
        ({"garbler_model": "m", "garbler_url": "file:///etc/passwd"}, "must be like https://"),
        ({"garbler_model": "m", "garbler_url": "http:///v1"}, "must be like https://"),
        ({"garbler_model": "m", "garbler_url": "http://u:s3cret@host/v1"}, "must be like https://"),
        ({"garbler_model": "m", "garbler_url": "http://[::1/v1"}, "must be like https://"),
        ({"garbler_model": "m", "garbler_url": "http://host:99999/v1"}, "must be like https://"),
        ({"garbler_model": "m", "garbler_url": URL, "garbler_api_key": "s3cret\n"}, "one word"),
        ({"garbler_model": "m", "garbler_url": URL, "garbler_api_key": "s3crét"}, "one word"),
        ({"garbler_model": "m", "garbler_url": URL, "garbler_api_key": ""}, "one word"),
    ],
)
def test_settings_that_lead_to_no_model_say_what_to_do(settings: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        open_garblers(GarblingSettings(garbler="high_temperature", **settings))  # type: ignore[arg-type]

    assert says in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("package", "settings", "extra"),
    [
        ("openai", {"garbler_model": "m", "garbler_url": URL}, "pairstream[openai]"),
        ("torch", {}, "pairstream[train]"),
        ("transformers", {}, "pairstream[train]"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    package: str,
    settings: dict[str, str],
    extra: str,
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else object()
    )
    chosen = {"garbler_model": str(model), **settings}

    with pytest.raises(InvalidSettings) as refused:
        open_garblers(GarblingSettings(garbler="high_temperature", **chosen))  # type: ignore[arg-type]

    assert f"needs the package {package}: pip install '{extra}'" in str(refused.value)


def test_key_has_no_flag_and_stands_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSTREAM_GARBLER_API_KEY", "s3cret")
    monkeypatch.setenv("PAIRSTREAM_GARBLER_CONCURRENCY", "0")

    with pytest.raises(InvalidSettings) as refused:
        load(WorkerSettings, None, {})

    assert "PAIRSTREAM_GARBLER_CONCURRENCY" in str(refused.value)
    assert "s3cret" not in str(refused.value)
