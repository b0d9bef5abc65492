"""A local model in a process of its own: reproducible, and replaced when it dies or hangs."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pairstream.tiny_model import SPECIAL_TOKENS
from schemas.events import Message
from schemas.settings import GarblingSettings
from streams.garbler_process import ModelProcess
from streams.garblers import Sampling, open_garblers
from streams.garbling import corrupt, garbled_pair
from streams.high_temperature import Ask, ModelFailed, judge
from tests.streams.asked import GOOD, asked, garble_request
from tests.waiting import wait_for

pytestmark = pytest.mark.training

PATIENT = 240.0


def process(folder: Path, *, temperature: float = 2.0, seconds: float = PATIENT) -> ModelProcess:
    return ModelProcess(folder, temperature=temperature, timeout_seconds=seconds)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def model(tiny_model: Path, loop: asyncio.Runner) -> Iterator[ModelProcess]:
    """Loaded once for all tests, and again behind one that ends it."""
    made = process(tiny_model)
    yield made
    loop.run(made.aclose())


def of_the_same_child(model: ModelProcess, **settings: float) -> ModelProcess:
    """With other settings; what ends the one's child ends the other's."""
    other = process(Path(), **settings)
    other.child = model.child
    return other


def pid_of(model: ModelProcess) -> int:
    assert model.child is not None
    return model.child.pid


def is_there(pid: int) -> bool:
    """Whether it runs: one that was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def await_end_of(pid: int) -> None:
    wait_for(lambda: not is_there(pid), told=lambda: f"{pid} goes on")


def test_a_local_model_is_chosen_by_its_folder_and_not_loaded_yet(tiny_model: Path) -> None:
    garblers = open_garblers(
        GarblingSettings(garbler="high_temperature", garbler_model=str(tiny_model))
    )

    assert isinstance(garblers, Sampling)
    assert isinstance(garblers.model, ModelProcess)
    assert garblers.model.child is None


def test_the_same_pair_gets_the_same_text_alone_and_among_others(
    model: ModelProcess, loop: asyncio.Runner
) -> None:
    requests = [garble_request(f"r-{number}") for number in range(6)]
    sampling = Sampling(model)
    pairs = loop.run(sampling.pairs(requests))
    [alone] = loop.run(sampling.pairs([requests[4]]))
    loop.run(model.aclose())
    [anew] = loop.run(sampling.pairs([requests[4]]))

    assert sampling.stand_ins.reasons == {}
    assert pairs[4] == alone == anew
    assert len({pair.rejected[0].content for pair in pairs}) == len(pairs)
    assert {pair.garbler for pair in pairs} == {"high_temperature"}
    assert all(isinstance(pair.garbled_distance, float) for pair in pairs)


@pytest.mark.parametrize("good", ["x" * 10, GOOD * 20, "\u65e5\u672c\u8a9e" * 30])
def test_a_text_is_about_as_long_as_the_good_one(
    model: ModelProcess, loop: asyncio.Runner, good: str
) -> None:
    ask = asked(good=good)

    text = judge(ask, loop.run(model.sample(ask))).text

    assert 0.5 * len(good) <= len(text) <= len(good)


def test_no_control_token_is_sampled_and_no_prompt_is_too_long(
    model: ModelProcess, loop: asyncio.Runner
) -> None:
    """Of 320 rows of the output layer 64 have no text: many would come among 300 tokens."""
    ask = Ask([Message("user", "Empty the cache. " * 300)], GOOD * 6, 7)

    said = loop.run(model.sample(ask))

    # Each token with a text is a byte, and some bytes join: about 315 characters of 334 tokens,
    # and about 255 if those without a text came too.
    assert len(said) > 290
    assert not any(token in said for token in SPECIAL_TOKENS)


def test_settings_of_the_models_own_do_not_count(
    tiny_model: Path, tmp_path: Path, model: ModelProcess, loop: asyncio.Runner
) -> None:
    greedy = tmp_path / "greedy"
    shutil.copytree(tiny_model, greedy)
    own = {"do_sample": True, "top_k": 1, "top_p": 0.01, "min_p": 0.9, "temperature": 0.01,
           "repetition_penalty": 9.0, "typical_p": 0.1, "max_new_tokens": 3}  # fmt: skip
    (greedy / "generation_config.json").write_text(json.dumps(own))
    theirs = process(greedy)

    said = [loop.run(theirs.sample(asked(run_id))) for run_id in ("r-1", "r-2")]
    loop.run(theirs.aclose())

    assert said == [loop.run(model.sample(asked(run_id))) for run_id in ("r-1", "r-2")]


def test_temperature_counts(model: ModelProcess, loop: asyncio.Runner) -> None:
    loop.run(model.sample(asked()))
    cold = of_the_same_child(model, temperature=1e-9)
    hot = of_the_same_child(model, temperature=5.0)

    assert len({loop.run(cold.sample(asked(f"r-{number}"))) for number in range(3)}) == 1
    assert len({loop.run(hot.sample(asked(f"r-{number}"))) for number in range(3)}) == 3


def test_every_token_may_come_however_unlikely(model: ModelProcess, loop: asyncio.Runner) -> None:
    """The library's own top_k would leave 50 tokens to begin with."""
    loop.run(model.sample(asked()))
    hot = of_the_same_child(model, temperature=100.0)
    ask = asked(good="x")

    said = [loop.run(hot.sample(ask._replace(seed=seed))) for seed in range(180)]

    assert len({text[0] for text in said if text[:1].isascii()}) > 50


def test_messages_that_the_template_refuses_are_a_prompt_all_the_same(
    tiny_model: Path, tmp_path: Path, loop: asyncio.Runner
) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(tiny_model, strict)
    (strict / "chat_template.jinja").write_text("{{ raise_exception('no system message') }}")
    model = process(strict)

    said = loop.run(model.sample(asked()))
    loop.run(model.aclose())

    assert judge(asked(), said).garbler == "high_temperature"


# --- Deaths --------------------------------------------------------------------------------------


def test_a_child_that_was_killed_is_replaced_by_one_that_says_the_same(
    model: ModelProcess, loop: asyncio.Runner
) -> None:
    before = loop.run(model.sample(asked()))
    first = pid_of(model)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(ModelFailed, match="model_ended"):
        loop.run(model.sample(asked()))

    assert loop.run(model.sample(asked())) == before
    assert pid_of(model) != first
    assert not is_there(first)


def test_a_child_that_hangs_is_ended_and_replaced(
    model: ModelProcess, loop: asyncio.Runner
) -> None:
    before = loop.run(model.sample(asked()))
    first = pid_of(model)
    os.kill(first, signal.SIGSTOP)
    impatient = of_the_same_child(model, seconds=0.2)
    with pytest.raises(ModelFailed, match="timed_out"):
        loop.run(impatient.sample(asked()))

    assert impatient.child is None
    assert not is_there(first)
    model.child = None
    assert loop.run(model.sample(asked())) == before


def test_a_child_whose_question_was_broken_off_answers_nobody_elses(
    model: ModelProcess, loop: asyncio.Runner
) -> None:
    expected = loop.run(model.sample(asked("r-2")))
    first = pid_of(model)

    async def break_off() -> None:
        asking = asyncio.create_task(model.sample(asked("r-1")))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()

    loop.run(break_off())

    assert loop.run(model.sample(asked("r-2"))) == expected
    assert not is_there(first)


PARENT = """
import asyncio, sys
from pathlib import Path
from streams.garbler_process import ModelProcess
from tests.streams.asked import asked

async def main():
    model = ModelProcess(Path(sys.argv[1]), temperature=2.0, timeout_seconds=240)
    await model.sample(asked())
    print(model.child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_child_ends_with_a_parent_that_was_killed(tiny_model: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tiny_model)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = next(int(line) for line in parent.stdout if line.strip().isdigit())
    assert is_there(pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    await_end_of(pid)


def test_a_child_knows_no_secret_and_may_ask_no_hub(
    monkeypatch: pytest.MonkeyPatch, model: ModelProcess, loop: asyncio.Runner
) -> None:
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD", "s3cret")
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    loop.run(model.aclose())
    loop.run(model.sample(asked()))

    environment = Path(f"/proc/{pid_of(model)}/environ").read_bytes()

    assert b"s3cret" not in environment
    assert b"HF_HUB_OFFLINE=1" in environment


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no tensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


@pytest.mark.parametrize("damage", [damaged, pickled, with_code])
def test_a_model_that_cannot_or_must_not_be_loaded_says_why_and_corrupt_stands_in(
    tiny_model: Path, tmp_path: Path, loop: asyncio.Runner, damage: object
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    assert callable(damage)
    damage(folder)
    model = process(folder)
    request = garble_request()
    with capture_logs() as logs:
        sampling = Sampling(model)
        [pair] = loop.run(sampling.pairs([request]))

    assert pair == garbled_pair(request, corrupt)
    assert sampling.stand_ins.reasons == {"model_refused": 1}
    [refused] = [line for line in logs if line["event"] == "garbler_model_refused"]
    assert "Error" in refused["why"]
    assert model.child is None
    assert not (folder / "ran").exists()
