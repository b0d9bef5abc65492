"""LangGraph, and all that takes LangChain's callbacks, by one line:

    graph.invoke(state, {"callbacks": [Reporter(score=..., code_tools={"execute_python": "code"})]})

Needs `langchain-core`, which LangGraph brings along.
"""

from collections.abc import Mapping
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
        # By LangChain's ids of calls: the run that each belongs to, the code of a tool's call, and
        # the calls that no other one made, with which their runs end.
        self._runs: dict[UUID, ReportedRun] = {}
        self._codes: dict[UUID, str] = {}
        self._outermost: set[UUID] = set()

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        run = self._runs.get(parent_run_id) if parent_run_id else None
        if run is None:
            run = self._reports.run()
            self._outermost.add(run_id)
        self._runs[run_id] = run

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self._left(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._left(run_id)

    def _left(self, run_id: UUID) -> None:
        with self._reports.quietly():
            run = self._runs.pop(run_id, None)
            if run is not None and run_id in self._outermost:
                self._outermost.discard(run_id)
                run.finish()

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
            run = self._runs.get(parent_run_id) if parent_run_id else None
            if run is not None:
                self._runs[run_id] = run
                model = (metadata or {}).get("ls_model_name")
                run.asked([_message(each) for each in messages[0]], model=model)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        with self._reports.quietly():
            run = self._runs.pop(run_id, None)
            if run is not None:
                run.said(text_of(response.generations[0][0].message.content))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._runs.pop(run_id, None)

    def on_tool_start(
        self,
        serialized: Mapping[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        with self._reports.quietly():
            run = self._runs.get(parent_run_id) if parent_run_id else None
            if run is None:
                return
            self._runs[run_id] = run  # a tool may call another agent
            argument = self._code_tools.get(serialized.get("name", ""))
            if argument is not None:
                self._codes[run_id] = (inputs or {})[argument]

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """A tool that caught its own error says so in its message's status."""
        failed = getattr(output, "status", None) == "error"
        result = getattr(output, "content", output)
        self._tried(run_id, result=result, error=str(result) if failed else None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._tried(run_id, result=None, error=f"{type(error).__name__}: {error}")

    def _tried(self, run_id: UUID, *, result: Any, error: str | None) -> None:
        with self._reports.quietly():
            run, code = self._runs.pop(run_id, None), self._codes.pop(run_id, None)
            if run is not None and code is not None:
                run.tried(code, result=result, error=error)


def _message(message: Any) -> Message:
    return {"role": ROLES.get(message.type, message.type), "content": text_of(message.content)}
