"""What the adapters of frameworks share: from what an agent is asked, says and tries to its run."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from client_support import KeepingPublisher, RunScript

from pairstream_client.events import Event
from pairstream_client.reporting import ReportedRun, Reports, Score, text_of
from pairstream_client.smolagents import Reporter
from schemas.events import CodeAttempted, RunFinished, RunStarted, StrategyProposed

ASKED = [
    {"role": "developer", "content": "You tidy."},
    {"role": "user", "content": "Tidy up."},
    {"role": "assistant", "content": "I begin."},
    {"role": "user", "content": "Go on."},
]

MEDDLE_SECONDS = 0.2
TOGETHER_SECONDS = 30.0


def length(_: str, result: object) -> float:
    return float(len(str(result)))


@pytest.fixture
def run(keeping: KeepingPublisher) -> ReportedRun:
    return Reports(length, task_id="t-1", publisher=keeping).run()


def attempts(keeping: KeepingPublisher) -> list[tuple[Any, ...]]:
    return [
        (each.strategy_id, each.attempt, each.code, each.compiled, each.ran, each.score, each.fault)
        for each in keeping.events
        if isinstance(each, CodeAttempted)
    ]


def test_run_begins_with_what_its_model_is_asked_up_to_its_own_words(
    run: ReportedRun, keeping: KeepingPublisher
) -> None:
    run.asked(ASKED, agent="a", model="m")
    run.asked([{"role": "user", "content": "Another time."}])

    [started] = keeping.events
    assert isinstance(started, RunStarted)
    told = [message.content for message in started.prompts.full()]
    assert told == ["You tidy.", "Tidy up."]
    assert len(started.prompts.system_plist) == 1
    assert (started.agent_id, started.task_id, started.policy_id) == ("a", "t-1", "m")


def test_same_words_are_the_same_strategy_and_silence_goes_on_with_the_last(
    run: ReportedRun, keeping: KeepingPublisher
) -> None:
    run.asked(ASKED)
    run.said("Plan a.")
    run.tried("x", error="SyntaxError: (")
    run.said("  ")
    run.tried("y", error="ValueError")
    run.said("Plan b.")
    run.tried("z", result="123")
    run.said("Plan a.\n")
    run.tried("w", result="")
    run.finish()

    assert attempts(keeping) == [
        ("s-1", 1, "x", False, False, 0.0, None),
        ("s-1", 2, "y", True, False, 0.0, None),
        ("s-2", 1, "z", True, True, 3.0, None),
        ("s-1", 3, "w", True, True, 0.0, None),
    ]
    plans = [event.strategy for event in keeping.events if isinstance(event, StrategyProposed)]
    assert plans == ["Plan a.", "Plan b."]
    assert isinstance(keeping.events[-1], RunFinished)


def attempt_scored_by(score: Score, keeping: KeepingPublisher) -> CodeAttempted:
    run = Reports(score, publisher=keeping).run()
    run.asked(ASKED)
    run.said("Plan.")
    run.tried("x", result="1")
    attempt = keeping.events[-1]
    assert isinstance(attempt, CodeAttempted)
    return attempt


def test_score_function_that_raises_makes_the_attempt_void(keeping: KeepingPublisher) -> None:
    def broken(_: str, __: object) -> float:
        raise ValueError("no tests today")

    attempt = attempt_scored_by(broken, keeping)

    assert (attempt.score, attempt.fault) == (0.0, "infrastructure")
    assert attempt.error == "the score function raised ValueError"


@pytest.mark.parametrize("given", [-1.0, float("nan"), float("inf"), None, "1", True])
def test_what_is_no_score_makes_the_attempt_void(given: Any, keeping: KeepingPublisher) -> None:
    attempt = attempt_scored_by(lambda _, __: given, keeping)

    assert (attempt.compiled, attempt.ran) == (True, True)
    assert (attempt.score, attempt.fault) == (0.0, "infrastructure")
    assert (attempt.error or "").startswith("the score function gave no score: ")
    assert keeping.stats.dropped == 0


def test_code_before_any_words_is_dropped_and_counted(
    run: ReportedRun, keeping: KeepingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    run.tried("x")
    run.asked(ASKED)
    run.tried("x")
    run.finish()

    assert attempts(keeping) == []
    assert keeping.stats.dropped == 2
    untold, wordless = caplog.messages
    assert "are the model's calls traced?" in untold
    assert "before any words" in wordless


class MeddledPublisher(KeepingPublisher):
    """While it sends an event for which there is a call, another thread makes that call: until it
    is through, or waits for what the sender holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], None]] = []
        self._threads: list[threading.Thread] = []

    def send(self, event: Event) -> None:
        super().send(event)
        if self.calls:
            thread = threading.Thread(target=self.calls.pop())
            thread.start()
            thread.join(MEDDLE_SECONDS)
            self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def test_threads_begin_a_run_and_a_strategy_once() -> None:
    publisher = MeddledPublisher()
    run = Reports(length, publisher=publisher).run()
    publisher.calls.append(lambda: run.asked(ASKED))
    run.asked(ASKED)
    publisher.join()
    run.said("Plan.")
    publisher.calls.append(lambda: run.tried("y", result="22"))
    run.tried("x", result="1")
    publisher.join()

    begun = [event for event in publisher.events if not isinstance(event, CodeAttempted)]
    assert [type(event) for event in begun] == [RunStarted, StrategyProposed]
    tried = [each for each in publisher.events if isinstance(each, CodeAttempted)]
    assert {each.code for each in tried} == {"x", "y"}
    assert {each.attempt for each in tried} == {1, 2}


def test_a_fork_while_a_run_begins_leaves_the_child_able_to_record(run_script: RunScript) -> None:
    agent = """
import os, signal, threading
from pairstream_client import Publisher
from pairstream_client.reporting import Reports

begins, forked = threading.Event(), threading.Event()

class SlowMessages(list):
    def __iter__(self):
        begins.set()
        forked.wait()
        return super().__iter__()

asked = [{"role": "user", "content": "Print."}]
run = Reports(lambda code, result: 1.0, publisher=Publisher("127.0.0.1:1")).run()
thread = threading.Thread(target=run.asked, args=[SlowMessages(asked)])
thread.start()
begins.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    forked.set()
    run.asked(asked)
    os._exit(0)
_, status = os.waitpid(child, 0)
forked.set()
thread.join()
print(status, flush=True)
os._exit(0)
"""
    done = run_script(agent, env={})

    assert done.stdout == "0\n", done.stderr


def test_threads_score_at_the_same_time(keeping: KeepingPublisher) -> None:
    together = threading.Barrier(2)

    def score(_: str, __: object) -> float:
        together.wait(TOGETHER_SECONDS)
        return 1.0

    run = Reports(score, publisher=keeping).run()
    run.asked(ASKED)
    run.said("Plan.")
    with ThreadPoolExecutor() as pool:
        list(pool.map(run.tried, ("x", "y")))

    assert [each[5:] for each in attempts(keeping)] == [(1.0, None), (1.0, None)]


def test_what_an_adapter_does_not_expect_never_reaches_the_agent(keeping: KeepingPublisher) -> None:
    with Reports(length, publisher=keeping).quietly():
        raise KeyError("a field of the framework's that is gone")

    assert keeping.stats.dropped == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        ([{"type": "text", "text": "a"}, {"type": "image"}, "b"], "a\nb"),
        ([SimpleNamespace(text="a")], "a"),
        (None, ""),
        (3, ""),
    ],
)
def test_words_of_a_message_are_its_text_parts(content: object, text: str) -> None:
    assert text_of(content) == text


# --- smolagents, whose steps tell all ------------------------------------------------------------


def step(number: int, **fields: Any) -> SimpleNamespace:
    usual: dict[str, Any] = {
        "step_number": number,
        "model_input_messages": [
            SimpleNamespace(role=SimpleNamespace(value=m["role"]), content=m["content"])
            for m in ASKED
        ],
        "model_output": f"Plan.\n<code>\ncode {number}\n</code>",
        "code_action": f"code {number}",
        "observations": "seen",
        "action_output": None,
        "error": None,
        "is_final_answer": False,
    }
    return SimpleNamespace(**{**usual, **fields})


def test_each_run_of_an_agent_is_a_run(keeping: KeepingPublisher) -> None:
    reporter = Reporter(length, publisher=keeping)
    agent = SimpleNamespace(name=None, model=SimpleNamespace(model_id="m"))

    for _ in range(2):
        reporter(step(1, error=ValueError("no")), agent)
        reporter(step(2, is_final_answer=True, action_output="12345"), agent)

    assert attempts(keeping) == 2 * [
        ("s-1", 1, "code 1", True, False, 0.0, None),
        ("s-1", 2, "code 2", True, True, 5.0, None),
    ]
    assert len({event.run_id for event in keeping.events}) == 2
    assert sum(isinstance(event, RunFinished) for event in keeping.events) == 2


def test_run_ends_when_its_steps_have_run_out(keeping: KeepingPublisher) -> None:
    class AgentMaxStepsError(Exception):
        pass

    reporter = Reporter(length, publisher=keeping)
    reporter(step(1), SimpleNamespace())
    last = {"code_action": None, "model_input_messages": None, "model_output": None}
    reporter(step(2, error=AgentMaxStepsError(), **last), SimpleNamespace())

    assert len(attempts(keeping)) == 1
    assert isinstance(keeping.events[-1], RunFinished)
