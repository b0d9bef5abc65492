"""The two conventions for agents' spans, as tables: they still move, so this is where to follow.

Of several names for one thing the first that is there counts; older names stand behind.
Sources: OpenTelemetry's semantic conventions for generative AI, OpenInference's specification.
"""

from msgspec import Struct


class Convention(Struct, frozen=True, kw_only=True):
    """What tells spans apart, and where they hold what.

    `kind` is the attribute that says what a span is; `model`, `tool`, `agent` and `plan` its
    values. `flattened`: messages are spread over attributes (`PREFIX.0.message.role`), under the
    names in `inputs` and `outputs`; else each is one attribute, a structure or its JSON.
    """

    name: str
    kind: str
    model: frozenset[str]
    tool: frozenset[str]
    agent: frozenset[str]
    plan: frozenset[str]
    flattened: bool
    system: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tool_name: tuple[str, ...]
    arguments: tuple[str, ...]
    result: tuple[str, ...]
    model_name: tuple[str, ...]
    agent_name: tuple[str, ...]


GENAI = Convention(
    name="OpenTelemetry GenAI",
    kind="gen_ai.operation.name",
    model=frozenset({"chat", "generate_content", "text_completion"}),
    tool=frozenset({"execute_tool"}),
    agent=frozenset({"invoke_agent", "invoke_workflow"}),
    plan=frozenset({"plan"}),
    flattened=False,
    system=("gen_ai.system_instructions",),
    inputs=("gen_ai.input.messages",),
    outputs=("gen_ai.output.messages",),
    tool_name=("gen_ai.tool.name",),
    arguments=("gen_ai.tool.call.arguments", "tool_arguments"),
    result=("gen_ai.tool.call.result", "tool_response"),
    model_name=("gen_ai.response.model", "gen_ai.request.model"),
    agent_name=("gen_ai.agent.name",),
)

OPENINFERENCE = Convention(
    name="OpenInference",
    kind="openinference.span.kind",
    model=frozenset({"LLM"}),
    tool=frozenset({"TOOL"}),
    agent=frozenset({"AGENT"}),
    plan=frozenset(),
    flattened=True,
    system=(),
    inputs=("llm.input_messages",),
    outputs=("llm.output_messages",),
    tool_name=("tool.name",),
    arguments=("input.value",),
    result=("output.value",),
    model_name=("llm.model_name",),
    agent_name=("agent.name",),
)

CONVENTIONS = (GENAI, OPENINFERENCE)

# Attributes of ours, on any span or resource of a trace; they win over what is found elsewhere.
RUN_ID = "pairstream.run.id"
TASK_ID = "pairstream.task.id"
POLICY_ID = "pairstream.policy.id"
AGENT_ID = "pairstream.agent.id"
FAULT = "pairstream.fault"

# A score: OpenTelemetry says it in an event or a log record, OpenInference in attributes.
SCORE_EVENT = "gen_ai.evaluation.result"
SCORE_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_PREFIXES = ("evaluations", "annotations")
TRACE_SCORE_PREFIXES = ("trace.evaluations", "trace.annotations")
SCORE_ITEMS = ("evaluation", "annotation")

SERVICE_NAME = "service.name"
ERROR_TYPE = "error.type"
EXCEPTION_EVENT = "exception"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_TYPE = "exception.type"
