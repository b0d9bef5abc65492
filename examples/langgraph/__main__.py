"""A LangGraph agent whose runs are reported by one line.

python examples/langgraph

Its model is LangChain's own fake, which speaks from a script; put any chat model in its place.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from pairstream_client import process_publisher
from pairstream_client.langgraph import Reporter

PLAN = "Add up the squares from 1 to 100."
PROGRAMS = (
    "print(sum(n * n for n in range(1, 101))",
    "print(sum(n * n for n in range(100)))",
    "print(sum(n * n for n in range(1, 101)))",
)


@tool
def execute_python(code: str) -> str:
    """Run a program and return what it prints."""
    # A model's code belongs in a sandbox.
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def score(_: str, output: object) -> float:
    return 1.0 if str(output).strip() == "338350" else 0.0


def scripted_model() -> FakeMessagesListChatModel:
    answers: list[BaseMessage] = [
        AIMessage(
            PLAN if number == 0 else "",
            tool_calls=[{"name": "execute_python", "args": {"code": code}, "id": f"call-{number}"}],
        )
        for number, code in enumerate(PROGRAMS)
    ]
    return FakeMessagesListChatModel(responses=[*answers, AIMessage("The sum is 338350.")])


def agent() -> Any:
    model = scripted_model()

    def think(state: MessagesState) -> dict[str, Sequence[BaseMessage]]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([execute_python], handle_tool_errors=True))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return graph.compile()


def main() -> int:
    # The one line.
    callbacks = [Reporter(score, code_tools={"execute_python": "code"}, agent_id="squares")]

    asked = [
        SystemMessage("You write Python programs."),
        HumanMessage("Print the sum of the first 100 square numbers."),
    ]
    result = agent().invoke({"messages": asked}, {"callbacks": callbacks})
    print(result["messages"][-1].content)
    # Events are sent in the background: only an agent that ends must wait for them.
    publisher = process_publisher()
    publisher.close(30)
    return 1 if publisher.stats.failed or publisher.stats.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
