"""The reporter of LangGraph, told of calls as LangChain tells of them."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from client_support import KeepingPublisher

from schemas.events import CodeAttempted, RunFinished, RunStarted, StrategyProposed

ADAPTER = "pairstream_client.langgraph"


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, for which the framework is a class without methods: all that it takes of it."""
    callbacks = ModuleType("langchain_core.callbacks")
    callbacks.BaseCallbackHandler = object  # type: ignore[attr-defined] # made here
    monkeypatch.setitem(sys.modules, "langchain_core", ModuleType("langchain_core"))
    monkeypatch.setitem(sys.modules, "langchain_core.callbacks", callbacks)
    monkeypatch.delitem(sys.modules, ADAPTER, raising=False)
    yield importlib.import_module(ADAPTER)
    sys.modules.pop(ADAPTER, None)


class Graph:
    """What a graph's callbacks tell its reporter."""

    def __init__(self, adapter: Any, publisher: KeepingPublisher) -> None:
        self.reporter = adapter.Reporter(
            lambda _, __: 1.0, code_tools={"python": "code"}, publisher=publisher
        )

    def begin(self, outer: UUID | None = None) -> UUID:
        call = uuid4()
        self.reporter.on_chain_start({}, {}, run_id=call, parent_run_id=outer)
        return call

    def end(self, call: UUID, outer: UUID | None = None) -> None:
        self.reporter.on_chain_end({}, run_id=call, parent_run_id=outer)

    def say(
        self, words: str, outer: UUID, *, after: Sequence[str] = (), tool_call: str | None = None
    ) -> None:
        """`after`: what the model is shown of its own words."""
        call = uuid4()
        asked = [SimpleNamespace(type="human", content="Tidy up.")]
        asked += [SimpleNamespace(type="ai", content=each) for each in after]
        self.reporter.on_chat_model_start({}, [asked], run_id=call, parent_run_id=outer)
        tool_calls = [{"id": tool_call}] if tool_call else []
        said = SimpleNamespace(message=SimpleNamespace(content=words, tool_calls=tool_calls))
        self.reporter.on_llm_end(SimpleNamespace(generations=[[said]]), run_id=call)

    def begin_tool(
        self, name: str, outer: UUID, *, tool_call: str | None = None, **inputs: str
    ) -> UUID:
        call = uuid4()
        self.reporter.on_tool_start(
            {"name": name}, "",
            run_id=call, parent_run_id=outer, inputs=inputs, tool_call_id=tool_call,
        )  # fmt: skip
        return call

    def end_tool(self, call: UUID) -> None:
        self.reporter.on_tool_end(SimpleNamespace(content="1"), run_id=call)

    def fail_tool(self, call: UUID) -> None:
        self.reporter.on_tool_error(ValueError("no"), run_id=call)

    def run_code(self, code: str, outer: UUID, *, tool_call: str | None = None) -> None:
        self.end_tool(self.begin_tool("python", outer, tool_call=tool_call, code=code))

    @property
    def is_over(self) -> bool:
        """Whether nothing is kept of its calls."""
        return not self.reporter._calls


@pytest.fixture
def graph(adapter: Any, keeping: KeepingPublisher) -> Graph:
    return Graph(adapter, keeping)


@pytest.mark.parametrize("tool_fails", [False, True])
def test_agent_that_a_tool_calls_belongs_to_the_outermost_call(
    graph: Graph, keeping: KeepingPublisher, *, tool_fails: bool
) -> None:
    outermost = graph.begin()
    graph.say("Ask the coder.", outermost)
    tool = graph.begin_tool("ask_coder", outermost)
    inner = graph.begin(tool)
    graph.say("Count.", inner)
    graph.run_code("count()", inner)
    graph.end(inner, tool)
    (graph.fail_tool if tool_fails else graph.end_tool)(tool)
    graph.run_code("more()", outermost)
    graph.end(outermost)

    assert len({event.run_id for event in keeping.events}) == 1
    kinds = [type(event) for event in keeping.events]
    assert (kinds[0], kinds.count(RunStarted)) == (RunStarted, 1)
    assert (kinds[-1], kinds.count(RunFinished)) == (RunFinished, 1)
    assert kinds.count(CodeAttempted) == 2
    assert graph.is_over


def test_outermost_call_that_the_reporter_sees_ends_its_run(
    graph: Graph, keeping: KeepingPublisher
) -> None:
    unseen = uuid4()
    call = graph.begin(unseen)
    graph.say("Count.", call)
    graph.run_code("count()", call)
    graph.end(call, unseen)

    assert isinstance(keeping.events[-1], RunFinished)
    assert graph.is_over


def codes_by_plan(keeping: KeepingPublisher) -> dict[str, list[str]]:
    plans = {
        each.strategy_id: each.strategy
        for each in keeping.events
        if isinstance(each, StrategyProposed)
    }
    codes: dict[str, list[str]] = {plan: [] for plan in plans.values()}
    for each in keeping.events:
        if isinstance(each, CodeAttempted):
            codes[plans[each.strategy_id]].append(each.code)
    return codes


def test_code_of_a_branch_stands_for_the_words_of_that_branch(
    graph: Graph, keeping: KeepingPublisher
) -> None:
    outermost = graph.begin()
    graph.say("Both ways.", outermost)
    branches = [graph.begin(outermost) for _ in range(3)]
    for branch, words in zip(branches, ("Plan a.", "Plan b.", ""), strict=True):
        graph.say(words, graph.begin(branch))
    graph.say(" ", graph.begin(branches[0]))  # goes on with its last words
    for branch, code in zip(branches, ("a()", "b()", "c()"), strict=True):
        graph.run_code(code, graph.begin(branch))

    # Its third branch has said nothing, so that the last words of the graph are its own.
    assert codes_by_plan(keeping) == {"Plan a.": ["a()"], "Plan b.": ["b()", "c()"]}


def test_code_stands_for_the_words_that_its_call_came_with_or_went_on_from(
    graph: Graph, keeping: KeepingPublisher
) -> None:
    outermost = graph.begin()
    nodes = [graph.begin(outermost) for _ in range(2)]  # side by side
    graph.say("Plan a.", nodes[0], tool_call="a-1")
    graph.say("Plan b.", nodes[1], tool_call="b-1")
    graph.run_code("a(1)", graph.begin(outermost), tool_call="a-1")
    graph.run_code("b(1)", graph.begin(outermost), tool_call="b-1")
    graph.say("", graph.begin(outermost), after=["Plan a.", ""], tool_call="a-2")
    graph.say("", graph.begin(outermost), after=["Plan b."], tool_call="b-2")
    graph.run_code("a(2)", graph.begin(outermost), tool_call="a-2")
    graph.run_code("b(2)", graph.begin(outermost), tool_call="b-2")

    assert codes_by_plan(keeping) == {"Plan a.": ["a(1)", "a(2)"], "Plan b.": ["b(1)", "b(2)"]}


def test_words_of_an_earlier_request_are_no_words_of_this_one(
    graph: Graph, keeping: KeepingPublisher
) -> None:
    outermost = graph.begin()
    call = uuid4()
    asked = [
        SimpleNamespace(type="ai", content="Another time."),
        SimpleNamespace(type="human", content="Tidy up."),
    ]
    graph.reporter.on_chat_model_start({}, [asked], run_id=call, parent_run_id=outermost)
    said = SimpleNamespace(message=SimpleNamespace(content="", tool_calls=[{"id": "a"}]))
    graph.reporter.on_llm_end(SimpleNamespace(generations=[[said]]), run_id=call)
    graph.run_code("early()", outermost, tool_call="a")

    assert codes_by_plan(keeping) == {}
    assert keeping.stats.dropped == 1


def test_words_of_an_agent_that_a_tool_called_are_not_those_of_its_caller(
    graph: Graph, keeping: KeepingPublisher
) -> None:
    outermost = graph.begin()
    graph.say("Ask, then count.", outermost)
    tool = graph.begin_tool("ask", outermost)
    inner = graph.begin(tool)
    graph.run_code("early()", inner)
    graph.say("Look.", inner)
    graph.run_code("look()", inner)
    graph.run_code("count()", outermost)

    assert codes_by_plan(keeping) == {
        "Ask, then count.": ["early()", "count()"],
        "Look.": ["look()"],
    }
