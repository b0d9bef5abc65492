"""Records one run of an agent, event by event.

Nothing here raises or waits: an event that cannot be sent is dropped, counted and said once.
"""

import os
import uuid
from datetime import datetime, timezone
from itertools import count
from types import TracebackType

from pairstream_client import events
from pairstream_client.errors import Refused
from pairstream_client.events import Prompts
from pairstream_client.process_lock import process_lock
from pairstream_client.publisher import Publisher, process_publisher


class RunRecorder:
    """One run, from the making of this object to `finish`, or to the end of its `with` block.

    Threads may share it. A run belongs to one process: a forked child may record into its
    parent's run while the parent waits, but only `finish` ends the run from there.
    """

    def __init__(
        self,
        prompts: Prompts,
        agent_id: str | None = None,
        task_id: str | None = None,
        policy_id: str | None = None,
        new_sp_egc_s: list[str] | None = None,
        run_id: str | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        """Send `run.started`.

        Args:
            prompts: the four lists of messages of the contract.
            task_id: the same for runs of the same task.
            policy_id: which model or adapter writes the run.
            new_sp_egc_s: the environment-getter codes that the agent wrote.
            run_id: 1 to 256 characters that no other run has; a random one by default.
        """
        self.run_id = uuid.uuid4().hex if run_id is None else run_id
        self.publisher = process_publisher() if publisher is None else publisher
        self._source = agent_id
        self._process_id = os.getpid()
        self._finished = False
        self._strategies: dict[str, Strategy] = {}
        self._strategy_numbers = count(1)
        with _Guard(self.publisher):
            self._send(
                events.run_started(
                    prompts=prompts,
                    new_sp_egc_s=new_sp_egc_s,
                    agent_id=agent_id,
                    task_id=task_id,
                    policy_id=policy_id,
                )
            )

    def propose(
        self,
        strategy: str,
        *,
        strategy_id: str | None = None,
        prompts: Prompts | None = None,
        new_sp_egc_s: list[str] | None = None,
    ) -> "Strategy":
        """Send `strategy.proposed`.

        Args:
            strategy_id: once in a run; `s-1`, `s-2` and so on by default.
            prompts: stand for this strategy instead of the run's, as does `new_sp_egc_s`.
        """
        proposed = self._strategy(strategy_id)
        with _Guard(self.publisher):
            if proposed._is_sent:
                raise Refused("strategy_id was used before in its run")
            self._send(
                events.strategy_proposed(
                    strategy_id=proposed.strategy_id,
                    strategy=strategy,
                    prompts=prompts,
                    new_sp_egc_s=new_sp_egc_s,
                )
            )
            proposed._is_sent = True
        return proposed

    def finish(self) -> None:
        """Send `run.finished`, once; what is recorded after it is dropped."""
        with _Guard(self.publisher):
            if not self._finished:
                self._send(events.run_finished())
                self._finished = True

    def __enter__(self) -> "RunRecorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if os.getpid() == self._process_id:
            self.finish()

    def _strategy(self, strategy_id: str | None) -> "Strategy":
        """The strategy of that id, known or new; an id by default is never used twice."""
        with process_lock:
            if strategy_id is None:
                free = (f"s-{number}" for number in self._strategy_numbers)
                strategy_id = next(name for name in free if name not in self._strategies)
            new = Strategy(self, strategy_id)
            if not isinstance(strategy_id, str):
                return new
            return self._strategies.setdefault(strategy_id, new)

    def _send(self, fields: events.Fields) -> None:
        if self._finished:
            raise Refused("its run is finished")
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        self.publisher.send(
            events.encode(
                fields,
                run_id=self.run_id,
                time=now.replace("+00:00", "Z"),
                event_id=os.urandom(16).hex(),  # a UUID would take five times as long
                source=self._source,
            )
        )


class Strategy:
    """One strategy of a run; made by `RunRecorder.propose`."""

    def __init__(self, run: RunRecorder, strategy_id: str) -> None:
        self.strategy_id = strategy_id
        self._run = run
        self._is_sent = False
        self._attempts: set[int] = set()
        self._last_attempt = 0

    def attempt(
        self,
        code: str,
        *,
        compiled: bool,
        ran: bool,
        score: float = 0.0,
        error: str | None = None,
        fault: str | None = None,
        attempt: int | None = None,
    ) -> None:
        """Send `code.attempted`.

        Args:
            score: 0 or more; above 0 only for code that ran.
            error: what the compiler or the run said.
            fault: `infrastructure` or `cancelled` when the attempt tells nothing about the agent.
            attempt: its number from 1, once in a strategy; counted on from the highest by default.
        """
        with _Guard(self._run.publisher):
            number = events.attempt_number(self._last_attempt + 1 if attempt is None else attempt)
            fields = events.code_attempted(
                strategy_id=self.strategy_id,
                attempt=number,
                code=code,
                compiled=compiled,
                ran=ran,
                score=score,
                error=error,
                fault=fault,
            )
            if number in self._attempts:
                raise Refused("attempt was used before in its strategy")
            self._run._send(fields)
            self._attempts.add(number)
            self._last_attempt = max(self._last_attempt, number)


class _Guard:
    """What is recorded inside is recorded by one thread at a time, and whatever goes wrong ends
    here: the event is dropped, with a reason that quotes nothing of the agent's.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def __enter__(self) -> None:
        process_lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        process_lock.release()
        if not isinstance(error, Exception):
            return False
        expected = isinstance(error, Refused)
        self._publisher.drop(str(error) if expected else f"unexpected {type(error).__name__}")
        return True
