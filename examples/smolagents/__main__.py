"""A CodeAgent of smolagents whose runs are reported by one line.

python examples/smolagents

Its model speaks from a script; put any of smolagents' models in its place.
"""

import sys
from typing import Any

from smolagents import CodeAgent, Model
from smolagents.models import ChatMessage, MessageRole

from pairstream_client import process_publisher
from pairstream_client.smolagents import Reporter

PLAN = "Add up the squares from 1 to 100."
PROGRAMS = (
    "final_answer(sum(n * n for n in range(1, 101))",
    "print(sum(n * n for n in range(100)))",
    "final_answer(sum(n * n for n in range(1, 101)))",
)


class ScriptedModel(Model):
    def __init__(self) -> None:
        super().__init__(model_id="scripted")
        self._programs = iter(PROGRAMS)

    def generate(self, messages: list[ChatMessage], *_: Any, **__: Any) -> ChatMessage:
        text = f"{PLAN}\n<code>\n{next(self._programs)}\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=text)


def score(_: str, output: object) -> float:
    return 1.0 if str(output).strip() == "338350" else 0.0


def main() -> int:
    agent = CodeAgent(
        tools=[],
        model=ScriptedModel(),
        verbosity_level=0,
        # The one line.
        step_callbacks=[Reporter(score, agent_id="squares")],
    )
    print(agent.run("Find the sum of the first 100 square numbers."))
    # Events are sent in the background: only an agent that ends must wait for them.
    publisher = process_publisher()
    publisher.close(30)
    return 1 if publisher.stats.failed or publisher.stats.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
