"""smolagents, by one line:

    agent = CodeAgent(tools, model, step_callbacks=[Reporter(score=...)])

Needs nothing of the framework: a step tells all.
"""

import re
from typing import Any

from pairstream_client.publisher import Publisher
from pairstream_client.reporting import Message, ReportedRun, Reports, Score, text_of

# Where the code begins in what the model wrote.
CODE = re.compile(r"<code>|```")

OUT_OF_STEPS = "AgentMaxStepsError"


class Reporter:
    """Reports every run of a `CodeAgent`: the code of each step is an attempt.

    A run is over with its final answer, or when its steps have run out; one that breaks off is
    settled by the run timeout. One reporter for each agent.
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
        self._reports = Reports(
            score,
            agent_id=agent_id,
            task_id=task_id,
            policy_id=policy_id,
            publisher=publisher,
        )
        self._run: ReportedRun | None = None

    def __call__(self, step: Any, agent: Any) -> None:
        with self._reports.quietly():
            if self._run is None or step.step_number == 1:
                self._run = self._reports.run()
            self._take_in(self._run, step, agent)
            if step.is_final_answer or type(step.error).__name__ == OUT_OF_STEPS:
                self._run.finish()
                self._run = None

    def _take_in(self, run: ReportedRun, step: Any, agent: Any) -> None:
        asked = [_message(message) for message in step.model_input_messages or []]
        if asked:
            model = getattr(getattr(agent, "model", None), "model_id", None)
            run.asked(asked, agent=getattr(agent, "name", None), model=model)
        run.said(CODE.split(text_of(step.model_output), maxsplit=1)[0])
        if step.code_action:
            error = None if step.error is None else str(step.error)
            result = step.action_output if step.is_final_answer else step.observations
            run.tried(step.code_action, result=result, error=error)


def _message(message: Any) -> Message:
    return {
        "role": str(getattr(message.role, "value", message.role)),
        "content": text_of(message.content),
    }
