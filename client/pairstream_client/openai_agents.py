"""The OpenAI Agents SDK, by one line:

    add_trace_processor(Reporter(score=..., code_tools={"execute_python": "code"}))

Needs `openai-agents`, of which tracing must be on, sensitive data included (both by default).
"""

import json
from collections.abc import Mapping
from typing import Any

from agents.tracing import Span, Trace, TracingProcessor

from pairstream_client.publisher import Publisher
from pairstream_client.reporting import Message, ReportedRun, Reports, Score, text_of


class Reporter(TracingProcessor):  # type: ignore[misc] # the framework is not installed here
    """Reports every trace as a run: its function tools' calls are the attempts.

    Args:
        code_tools: for each tool that runs code, the argument that holds the code.
    """

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
        self._runs: dict[str, ReportedRun] = {}
        self._agents: dict[str, str] = {}

    def on_trace_start(self, trace: Trace) -> None:
        self._runs[trace.trace_id] = self._reports.run()

    def on_trace_end(self, trace: Trace) -> None:
        with self._reports.quietly():
            self._agents.pop(trace.trace_id, None)
            self._runs.pop(trace.trace_id).finish()

    def on_span_start(self, span: Span[Any]) -> None:
        if span.span_data.type == "agent":
            self._agents.setdefault(span.trace_id, span.span_data.name)

    def on_span_end(self, span: Span[Any]) -> None:
        with self._reports.quietly():
            run, data = self._runs.get(span.trace_id), span.span_data
            if run is None:
                return
            if data.type == "generation":
                self._asked(run, span, _messages(data.input), data.model)
                run.said(
                    "\n".join(text_of(message.get("content")) for message in data.output or [])
                )
            elif data.type == "response" and data.response is not None:
                told = data.response.instructions
                system = [{"role": "system", "content": told}] if isinstance(told, str) else []
                self._asked(run, span, [*system, *_messages(data.input)], data.response.model)
                run.said("\n".join(_said(item) for item in data.response.output))
            elif data.type == "function" and data.name in self._code_tools:
                self._tried(run, span)

    def _asked(
        self, run: ReportedRun, span: Span[Any], messages: list[Message], model: Any
    ) -> None:
        run.asked(messages, agent=self._agents.get(span.trace_id), model=model)

    def _tried(self, run: ReportedRun, span: Span[Any]) -> None:
        data = span.span_data
        code = json.loads(data.input)[self._code_tools[data.name]]
        run.tried(code, result=data.output, error=_error(span.error))

    def shutdown(self) -> None:
        """What is queued is sent when the process ends."""

    def force_flush(self) -> None:
        """Events are on their way as soon as they are recorded."""


def _messages(asked: Any) -> list[Message]:
    """Of a text, or of items among which calls and their results have no role."""
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    return [
        {"role": str(item.get("role", "tool")), "content": text_of(item.get("content"))}
        for item in asked or []
    ]


def _said(item: Any) -> str:
    return text_of(item.content) if item.type == "message" else ""


def _error(error: Any) -> str | None:
    """The SDK's error has a message and what it knows more, which may be redacted."""
    if error is None:
        return None
    more = error.get("data")
    return f"{error['message']}: {more}" if more else str(error["message"])
