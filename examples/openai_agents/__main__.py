"""An agent of the OpenAI Agents SDK whose runs are reported by one line.

python examples/openai_agents

Its model is an endpoint of our own in this process that answers as OpenAI's does; give the client
another `base_url` (or none, and a key) for a real one.
"""

import subprocess
import sys

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_trace_processors,
)
from openai import AsyncOpenAI
from scripted_endpoint import scripted_endpoint

from pairstream_client import process_publisher
from pairstream_client.openai_agents import Reporter


@function_tool
def execute_python(code: str) -> str:
    """Run a program and return what it prints."""
    # A model's code belongs in a sandbox.
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def score(_: str, output: object) -> float:
    return 1.0 if str(output).strip() == "338350" else 0.0


def main() -> int:
    # The one line. `add_trace_processor` keeps the SDK's own tracing to OpenAI beside it.
    set_trace_processors([Reporter(score, code_tools={"execute_python": "code"})])

    with scripted_endpoint() as url:
        model = OpenAIChatCompletionsModel("scripted", AsyncOpenAI(base_url=url, api_key="none"))
        agent = Agent(
            name="squares",
            instructions="You write Python programs.",
            tools=[execute_python],
            model=model,
        )
        result = Runner.run_sync(agent, "Print the sum of the first 100 square numbers.")
    print(result.final_output)
    # Events are sent in the background: only an agent that ends must wait for them.
    publisher = process_publisher()
    publisher.close(30)
    return 1 if publisher.stats.failed or publisher.stats.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
