"""One trace of an agent's spans as a run, by the table of its convention. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from pairstream.formats import conventions as words
from pairstream.formats.assembling import SYSTEM_ROLES, prompt_of
from pairstream.formats.attributes import (
    error_of,
    first,
    messages,
    scores_of,
    text,
    trace_scores_of,
)
from pairstream.formats.conventions import CONVENTIONS, Convention
from pairstream.formats.messages import (
    content_of,
    message_of,
    reasoning_of,
    text_of,
    words_in,
)
from pairstream.formats.record import (
    Choices,
    Fault,
    Plan,
    Recorded,
    Step,
    Tried,
    chosen_score,
)
from pairstream.formats.spans import Note, Span, moment_of
from pairstream.formats.tools import code_block, code_of, compiled, failure_in
from schemas.events import Message

FAULTS: dict[str, Fault] = {"infrastructure": "infrastructure", "cancelled": "cancelled"}


def convention_of(spans: Iterable[Span]) -> Convention | None:
    """That of most of its spans; None where they follow none that is known."""
    counts = {
        convention.name: sum(convention.kind in span.attributes for span in spans)
        for convention in CONVENTIONS
    }
    best = max(CONVENTIONS, key=lambda convention: counts[convention.name])
    return best if counts[best.name] else None


class Trace:
    """All spans of one trace, in the order in which they began, and what was said of them."""

    def __init__(
        self, spans: Iterable[Span], notes: Iterable[Note], convention: Convention
    ) -> None:
        by_id: dict[str, Span] = {}
        for span in spans:
            by_id.setdefault(span.span_id, span)
        self.spans = sorted(by_id.values(), key=lambda span: (span.start_ns, span.span_id))
        self._by_id = by_id
        self._convention = convention
        self._notes: dict[str, list[Note]] = {}
        for note in notes:
            self._notes.setdefault(note.span_id, []).append(note)

    @property
    def root(self) -> Span | None:
        return next((span for span in self.spans if span.parent_id is None), None)

    def recorded(self, choices: Choices) -> Recorded:
        """The run. Raises: Unreadable when its messages or scores cannot be used."""
        start, root = self.spans[0], self.root
        return Recorded(
            place=(root or start).place,
            run_id=self._said(words.RUN_ID) or start.trace_id,
            began=moment_of(start.start_ns),
            prompt=self._prompt(),
            steps=[step for _, step in sorted(self._steps(choices), key=lambda item: item[0])],
            score=chosen_score(self._run_scores(), choices),
            fault=FAULTS.get(self._said(words.FAULT) or ""),
            ended=moment_of(root.end_ns) if root else None,
            agent_id=self._said(words.AGENT_ID) or self._agent_name(),
            task_id=self._said(words.TASK_ID),
            policy_id=self._said(words.POLICY_ID) or self._model_name(),
        )

    def _kind(self, span: Span) -> str:
        return str(span.attributes.get(self._convention.kind, ""))

    def _said(self, name: str) -> str | None:
        """An attribute of ours, on the first span or resource that has it."""
        said = (text({**span.resource, **span.attributes}, [name]) for span in self.spans)
        return next(filter(None, said), None)

    def _agent_name(self) -> str | None:
        names = (text(span.attributes, self._convention.agent_name) for span in self.spans)
        services = (text(span.resource, [words.SERVICE_NAME]) for span in self.spans)
        return next(filter(None, names), None) or next(filter(None, services), None)

    def _model_name(self) -> str | None:
        names = (text(span.attributes, self._convention.model_name) for span in self.spans)
        return next(filter(None, names), None)

    def _prompt(self) -> list[Message]:
        """Of the first span that tells one: what the system says, then what was asked."""
        for span in self.spans:
            asked = messages(span, self._convention.inputs, self._convention)
            if asked:
                system = messages(span, self._convention.system, self._convention)
                told = text_of(system)
                before = [Message("system", told)] if told else []
                return before + prompt_of([message_of(message) for message in _leading(asked)])
        return []

    def _steps(self, choices: Choices) -> Iterator[tuple[tuple[int, int], Step]]:
        """With the time that orders them: a model's words are there when it ends."""
        for span in self.spans:
            kind = self._kind(span)
            if kind in self._convention.model or kind in self._convention.plan:
                for rank, step in enumerate(self._spoken(span, choices)):
                    yield (span.end_ns, rank), step
            elif kind in self._convention.tool:
                tried = self._tool(span, choices)
                if tried is not None:
                    yield (span.start_ns, 2), tried

    def _spoken(self, span: Span, choices: Choices) -> Iterator[Step]:
        time = moment_of(span.end_ns)
        for message in messages(span, self._convention.outputs, self._convention):
            content = content_of(message)
            said = words_in(content)
            block = code_block(said)
            yield Plan(time, (block[0] if block else said) or reasoning_of(content))
            step = self._by_id.get(span.parent_id or "")
            if block is not None and step is not None:
                yield self._in_text(step, block[1], choices)

    def _in_text(self, step: Span, code: str, choices: Choices) -> Tried:
        """What an agent's span or the root tells is of all code in it, not of this piece."""
        if not self._is_whole_run(step):
            return self._tried(step, code, None, choices)._replace(in_text=True)
        time = moment_of(step.end_ns)
        return Tried(step.place, time, code, compiled=True, ran=True, in_text=True)

    def _is_whole_run(self, span: Span) -> bool:
        return span.parent_id is None or self._kind(span) in self._convention.agent

    def _tool(self, span: Span, choices: Choices) -> Tried | None:
        name = text(span.attributes, self._convention.tool_name) or ""
        code = code_of(name, first(span.attributes, self._convention.arguments), choices)
        if code is None:
            return None
        result = first(span.attributes, self._convention.result)
        return self._tried(span, code, result if isinstance(result, str) else None, choices)

    def _tried(self, span: Span, code: str, result: str | None, choices: Choices) -> Tried:
        error = error_of(span, result) or failure_in(result or "")
        scores = scores_of(span, self._notes.get(span.span_id, []))
        return Tried(
            place=span.place,
            time=moment_of(span.end_ns),
            code=code,
            compiled=compiled(error),
            ran=error is None,
            error=error,
            score=None if error else chosen_score(scores, choices),
        )

    def _run_scores(self) -> dict[str, float]:
        """Of the root, of the agents' spans, and of the trace, wherever it is said."""
        found: dict[str, float] = {}
        for span in self.spans:
            found |= trace_scores_of(span)
            if self._is_whole_run(span):
                found |= scores_of(span, self._notes.get(span.span_id, []))
        return found


def _leading(asked: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What comes before the agent's own words, which may hold what is no text."""
    for message in asked:
        if message.get("role") not in (*SYSTEM_ROLES, "user"):
            return
        yield message
