"""What the adapters of frameworks have in common: from what an agent is asked, says and tries to
the events of its run. Nothing here raises or waits.

An agent's words before its code are its strategy; the same words again are the same strategy.
"""

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from pairstream_client.errors import Refused
from pairstream_client.events import checked_score
from pairstream_client.process_lock import process_lock
from pairstream_client.publisher import Publisher, process_publisher
from pairstream_client.recorder import RunRecorder, Strategy

# What a piece of code achieved, by the code and what it gave back: 0 or more.
Score = Callable[[str, object], float]

Message = Mapping[str, str]

SYSTEM_ROLES = ("system", "developer")
ASKING_ROLES = (*SYSTEM_ROLES, "user")

DID_NOT_COMPILE = ("SyntaxError", "IndentationError", "TabError")


class Quietly:
    """Whatever goes wrong inside ends here, and the agent goes on; `tell` gets what it was."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._tell(type(error).__name__)
        return True


class Reports:
    """What every reporter is made of: how to score, and who reports.

    Args:
        score: what a piece of code achieved, by the code and what it gave back. Where it raises,
            or gives what is no score (below 0, NaN, no number), the attempt is void
            (`infrastructure`): nobody knows what it was worth.
        task_id: the same for runs of the same task.
        policy_id: which model or adapter writes the runs; the model's name by default.
    """

    def __init__(
        self,
        score: Score,
        *,
        agent_id: str | None = None,
        task_id: str | None = None,
        policy_id: str | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self.score = score
        self.agent_id = agent_id
        self.task_id = task_id
        self.policy_id = policy_id
        self.publisher = process_publisher() if publisher is None else publisher

    def quietly(self) -> Quietly:
        """Around all that an adapter does with its framework's things."""
        drop = self.publisher.drop
        return Quietly(lambda what: drop(f"an adapter met an unexpected {what}"))

    def run(self) -> "ReportedRun":
        return ReportedRun(self)


class ReportedRun:
    """One run; it begins with the first thing that its model is asked. Threads may share it."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        # Held while the run or a strategy begins, so that it begins once; never while code is
        # scored, which may take long.
        self._lock = threading.RLock()
        self._recorder: RunRecorder | None = None
        self._strategies: dict[str, Strategy] = {}
        self._plan = ""
        with process_lock:
            _runs.add(self)

    def asked(
        self, messages: Sequence[Message], *, agent: str | None = None, model: str | None = None
    ) -> None:
        """What a model is asked; only the first time counts, up to the agent's own words."""
        with self._lock:
            if self._recorder is None:
                self._recorder = self._begin(messages, agent, model)

    def _begin(
        self, messages: Sequence[Message], agent: str | None, model: str | None
    ) -> RunRecorder:
        system, request = _split(messages)
        return RunRecorder(
            {
                "system_plist": system,
                "basic_env_plist": [],
                "special_egc_req_plist": [],
                "strat_code_req_plist": request,
            },
            agent_id=self._reports.agent_id or agent,
            task_id=self._reports.task_id,
            policy_id=self._reports.policy_id or model,
            publisher=self._reports.publisher,
        )

    def said(self, text: str) -> None:
        """What the model says beside its code."""
        self._plan = text.strip() or self._plan

    def tried(
        self, code: str, *, result: object = None, error: str | None = None, plan: str = ""
    ) -> None:
        """What became of a piece of code; with an error it did not run.

        Args:
            plan: the words that it was written for; by default the last that were said.
        """
        if self._recorder is None:
            self._reports.publisher.drop(
                "code came, but not what the model was asked; are the model's calls traced?"
            )
            return
        plan = plan or self._plan
        if not plan:
            self._reports.publisher.drop("code came before any words of the agent")
            return
        strategy = self._strategy(self._recorder, plan)
        if error is not None:
            compiled = not any(name in error for name in DID_NOT_COMPILE)
            strategy.attempt(code, compiled=compiled, ran=False, error=error)
            return
        score, unknown = self._score(code, result)
        fault = "infrastructure" if unknown else None
        strategy.attempt(code, compiled=True, ran=True, score=score, error=unknown, fault=fault)

    def _strategy(self, recorder: RunRecorder, plan: str) -> Strategy:
        with self._lock:
            strategy = self._strategies.get(plan)
            if strategy is None:
                strategy = self._strategies[plan] = recorder.propose(plan)
            return strategy

    def _score(self, code: str, result: object) -> tuple[float, str | None]:
        """What the code achieved; where nobody knows, 0 and why."""
        raised = list[str]()
        with Quietly(raised.append):
            given = self._reports.score(code, result)
            try:
                return checked_score(given), None
            except Refused as why:
                return 0.0, f"the score function gave no score: {why}"
        return 0.0, f"the score function raised {raised[0]}"

    def finish(self) -> None:
        if self._recorder is not None:
            self._recorder.finish()


_runs: "weakref.WeakSet[ReportedRun]" = weakref.WeakSet()


def _begin_in_child() -> None:
    """A thread that the child does not have may have held the lock of a run."""
    for run in _runs:
        run._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The leading messages of the system, and what follows up to the agent's first words."""
    asked: list[Message] = []
    for message in messages:
        if message["role"] not in ASKING_ROLES:
            break
        asked.append(message)
    lead = 0
    while lead < len(asked) and asked[lead]["role"] in SYSTEM_ROLES:
        lead += 1
    return asked[:lead], asked[lead:]


def text_of(content: object) -> str:
    """The words of a message whose content is a text, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    return "\n".join(filter(None, map(_words, content)))


def _words(part: object) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else getattr(part, "text", None)
    return text if isinstance(text, str) else ""
