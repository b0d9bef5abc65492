import importlib
from pathlib import Path
from typing import Any

import pytest
from agent_loop import Agent
from program_writer import Attempt

from streams.partition import Partition
from tests.conftest import missing
from tests.examples.test_agent_loop import Captured

pytestmark = pytest.mark.training

PROMPT = [{"role": "user", "content": "Propose a strategy."}]


@pytest.fixture(scope="module")
def model_writer() -> Any:
    """The module, which takes seconds to import: not where only other tests run."""
    try:
        return importlib.import_module("model_writer")
    except ImportError:
        missing("needs torch and transformers: pip install -e '.[train]'")


def test_a_model_writes_a_run_that_settles(
    model_writer: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_writer, "PROGRAM_TOKENS", 64)
    captured = Captured()
    report = Agent(model_writer.Model(tiny_model, seed=0), seed=0, publisher=captured).work(1)

    settled = Partition(extended=False).apply(captured.records, now_ms=0)
    assert settled.refused == []
    (settlement,) = settled.settlements
    assert settlement.outcome.policy_id == tiny_model.name
    assert settlement.outcome.attempts == report.attempts >= 1
    assert settlement.outcome.void == 0


def test_the_same_seed_and_run_write_the_same(model_writer: Any, tiny_model: Path) -> None:
    def written(seed: int, run: int) -> str:
        return model_writer.Model(tiny_model, seed).for_run(run).propose(PROMPT)

    assert written(1, 2) == written(1, 2)
    assert len({written(1, 2), written(1, 3), written(2, 2)}) == 3


def test_a_program_is_asked_for_with_the_prompt_that_its_pair_will_have(
    model_writer: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_writer.Model(tiny_model, seed=0)
    asked: list[list[dict[str, str]]] = []

    def sample(messages: list[dict[str, str]], most_tokens: int) -> str:
        asked.append(list(messages))
        return "Here:\n```python\nprint(1)\n```\nDone."

    monkeypatch.setattr(model, "sample", sample)
    writer = model.for_run(0)
    failed = Attempt("1 / 0", True, False, 0.0, "ZeroDivisionError: division by zero")

    assert writer.program("Clear tmp/.", []) == "print(1)\n"
    assert writer.program("Clear tmp/.", [failed]) == "print(1)\n"
    first = [{"role": "user", "content": "Clear tmp/."}]
    assert asked[0] == first
    assert asked[1][:2] == [*first, {"role": "assistant", "content": "1 / 0"}]
    assert "ZeroDivisionError" in asked[1][2]["content"]


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("print(1)", "print(1)"),
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("So:\n```\na\n```\nor\n```\nb\n```", "a\n"),
        ("```py\ncut off", "cut off"),
        ("", ""),
    ],
)
def test_program_is_the_first_block_or_all_of_the_answer(
    model_writer: Any, answer: str, program: str
) -> None:
    assert model_writer.program_in(answer) == program
