"""A LangGraph agent with two branches at a time, whose nodes stand side by side in one graph; each
says its plan once and then tries two programs, of which the second is right.
"""

from typing import Annotated, Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from typing_extensions import TypedDict

from pairstream_client import process_publisher
from pairstream_client.langgraph import Reporter


class State(TypedDict):
    a: Annotated[list[BaseMessage], add_messages]
    b: Annotated[list[BaseMessage], add_messages]


@tool
def execute_python(code: str) -> str:
    """Run a program."""
    return code


def add_branch(graph: Any, name: str) -> None:
    answers: list[BaseMessage] = [
        AIMessage(
            words, tool_calls=[{"name": "execute_python", "args": {"code": code}, "id": code}]
        )
        for words, code in ((f"Plan {name}.", f"wrong_{name}"), ("", f"right_{name}"))
    ]
    model = FakeMessagesListChatModel(responses=[*answers, AIMessage("Done.")])

    def think(state: Any) -> dict[str, list[BaseMessage]]:
        return {name: [model.invoke([HumanMessage("Do it."), *state[name]])]}

    def where_next(state: Any) -> str:
        return f"tools_{name}" if state[name][-1].tool_calls else END

    graph.add_node(f"think_{name}", think)
    graph.add_node(f"tools_{name}", ToolNode([execute_python], messages_key=name))
    graph.add_edge(START, f"think_{name}")
    graph.add_conditional_edges(f"think_{name}", where_next, [f"tools_{name}", END])
    graph.add_edge(f"tools_{name}", f"think_{name}")


def main() -> None:
    graph = StateGraph(State)
    for name in "ab":
        add_branch(graph, name)
    reporter = Reporter(
        lambda code, _: float(code.startswith("right")), code_tools={"execute_python": "code"}
    )
    graph.compile().invoke({"a": [], "b": []}, {"callbacks": [reporter]})
    process_publisher().close(30)


main()
