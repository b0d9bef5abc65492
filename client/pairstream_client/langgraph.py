"""LangGraph, and all that takes LangChain's callbacks, by one line:

    graph.invoke(state, {"callbacks": [Reporter(score=..., code_tools={"execute_python": "code"})]})

Needs `langchain-core`, which LangGraph brings along.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from pairstream_client.publisher import Publisher
from pairstream_client.reporting import Message, ReportedRun, Reports, Score, text_of

ROLES = {"human": "user", "ai": "assistant"}


class Reporter(BaseCallbackHandler):  # type: ignore[misc] # the framework is not installed here
    """Reports every outermost call of a graph as a run: its tools' calls are the attempts.

    Args:
        code_tools: for each tool that runs code, the argument that holds the code.
    """

    # In the order in which things happen, also where the graph is asynchronous.
    run_inline = True

    def __init__(
        self,
        score: Score,
        *,
        code_tools: Mapping[str, str],
        agent_id: str | None = None,
        task_id: str | None = None,
        policy_id: str | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self._code_tools = dict(code_tools)
        self._reports = Reports(
            score,
            agent_id=agent_id,
            task_id=task_id,
            policy_id=policy_id,
            publisher=publisher,
        )
        self._calls: dict[UUID, _Call] = {}  # by LangChain's ids

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        outer = self._outer(parent_run_id)
        self._calls[run_id] = outer.call() if outer else _Call(self._reports.run())

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self._left(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._left(run_id)

    def _left(self, run_id: UUID) -> None:
        with self._reports.quietly():
            call = self._calls.pop(run_id, None)
            if call is not None and call.outer is None:
                call.run.finish()

    def _outer(self, parent_run_id: UUID | None) -> "_Call | None":
        return self._calls.get(parent_run_id) if parent_run_id else None

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        with self._reports.quietly():
            outer = self._outer(parent_run_id)
            if outer is not None:
                asked = [_message(each) for each in messages[0]]
                self._calls[run_id] = outer.call(words=_last_words(asked))
                model = (metadata or {}).get("ls_model_name")
                outer.run.asked(asked, model=model)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        with self._reports.quietly():
            call = self._calls.pop(run_id, None)
            if call is not None:
                message = response.generations[0][0].message
                tool_calls = [each["id"] for each in getattr(message, "tool_calls", ())]
                call.says(text_of(message.content), tool_calls)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._calls.pop(run_id, None)

    def on_tool_start(
        self,
        serialized: Mapping[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        **_: Any,
    ) -> None:
        with self._reports.quietly():
            outer = self._outer(parent_run_id)
            if outer is None:
                return
            call = self._calls[run_id] = outer.call(
                words=outer.said_with.get(tool_call_id) or outer.last_words, is_tool=True
            )
            argument = self._code_tools.get(serialized.get("name", ""))
            if argument is not None:
                call.code = (inputs or {})[argument]

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """A tool that caught its own error says so in its message's status."""
        failed = getattr(output, "status", None) == "error"
        result = getattr(output, "content", output)
        self._tried(run_id, result=result, error=str(result) if failed else None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._tried(run_id, result=None, error=f"{type(error).__name__}: {error}")

    def _tried(self, run_id: UUID, *, result: Any, error: str | None) -> None:
        with self._reports.quietly():
            call = self._calls.pop(run_id, None)
            if call is not None and call.code is not None:
                call.run.tried(call.code, result=result, error=error, plan=call.words)


@dataclass(eq=False)
class _Call:
    """A call that has not ended; `outer`: the one that made it.

    `words`: of a model or a tool, those that it goes on from; else the last that were said in it.
    What an agent says that a tool called, stays in that tool.
    `said_with`, one for all calls of a run: the words by the id of the tool's call that came with
    them. Where the framework tells no ids, a tool's call goes by the last words of the nearest call
    around both; that tells apart branches that are subgraphs, but not nodes side by side.
    """

    run: ReportedRun
    outer: "_Call | None" = None
    is_tool: bool = False
    code: str | None = None
    words: str = ""
    said_with: dict[str | None, str] = field(default_factory=dict)

    def call(self, *, words: str = "", is_tool: bool = False) -> "_Call":
        """A call that this one makes."""
        return _Call(self.run, self, is_tool, words=words, said_with=self.said_with)

    def says(self, words: str, tool_calls: Iterable[str | None]) -> None:
        words = words.strip() or self.words
        self.run.said(words)
        self.said_with.update(dict.fromkeys(filter(None, tool_calls), words))
        call = self.outer
        while call is not None and not call.is_tool:
            call.words = words or call.words
            call = call.outer

    @property
    def last_words(self) -> str:
        call: _Call | None = self
        while call is not None and not call.words:
            call = call.outer
        return call.words if call else ""


def _last_words(asked: Sequence[Message]) -> str:
    """What the model said since somebody else did: in a branch, the words of that branch."""
    for message in reversed(asked):
        if message["role"] == "user":
            break
        if message["role"] == "assistant" and message["content"].strip():
            return message["content"].strip()
    return ""


def _message(message: Any) -> Message:
    return {"role": ROLES.get(message.type, message.type), "content": text_of(message.content)}
