"""Which tools run code, where the code stands in their arguments, and how a failure reads. Pure.

The conventions name none of it, so these are tables: what agents and frameworks are known to use.
"""

import re
from collections.abc import Mapping

import msgspec

from pairstream.formats.record import Choices

CODE_TOOLS = frozenset(
    {
        "bash", "bash_command", "code_execution", "code_interpreter", "execute_bash",
        "execute_code", "execute_command", "execute_ipython_cell", "execute_python", "ipython",
        "local_shell", "python", "python_exec", "python_interpreter", "python_repl", "run_bash",
        "run_code", "run_command", "run_python", "run_shell_command", "shell", "terminal",
    }
)  # fmt: skip

# In this order; a list of words (as of a command) is joined by blanks.
CODE_ARGUMENTS = ("code", "command", "cmd", "script", "source", "program", "keystrokes", "commands")

# The text that a tool gave back, where the format itself does not say that it failed.
FAILURES = (
    re.compile(r"Traceback \(most recent call last\)"),
    # Of code that does not compile Python writes no traceback, but file, line and place.
    re.compile(r'(?m)^ *File ".*", line \d+\n(?:.*\n){0,3}(?:Syntax|Indentation|Tab)Error: '),
    re.compile(r"<returncode>\s*-?(?!0\s*<)\d+\s*</returncode>"),
    re.compile(r'"(?:returncode|exit_code|exitCode)":\s*-?(?!0\b)\d+'),
    re.compile(r"(?im)^\W{0,2}(?:process )?exit(?:ed with)? (?:code|status):?\s*-?(?!0\b)\d+"),
    re.compile(r"(?m)^(?:An e|E)rror(?: occurred)? (?:while )?running the (?:code|tool)"),
)  # fmt: skip

# The compiler spoke, so nothing ran at all.
DID_NOT_COMPILE = re.compile(
    r"\b(?:SyntaxError|IndentationError|TabError)\b|Code parsing failed|\bsyntax error near\b"
)

# One block of code in a message: fenced, or between smolagents' tags.
_BLOCKS = re.compile(
    r"^```[\w+-]*[ \t]*\n(?P<fenced>.*?)^```[ \t]*$|<code>\s*\n(?P<tagged>.*?)\n?</code>",
    re.MULTILINE | re.DOTALL,
)


def code_of(tool: str, arguments: object, choices: Choices) -> str | None:
    """The code that a call hands to a tool; None where the tool runs none, or got none.

    Args:
        arguments: an object, or its JSON text; of a tool that takes one text, that text.
    """
    if tool.rpartition(".")[2].lower() not in CODE_TOOLS and tool not in choices.code_tools:
        return None
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError):
            return as_text(arguments)
    if isinstance(arguments, Mapping):
        found = [as_text(arguments[name]) for name in CODE_ARGUMENTS if name in arguments]
        return next((text for text in found if text), None)
    return as_text(arguments)


def as_text(value: object) -> str | None:
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return value if isinstance(value, str) and value else None


def failure_in(result: str) -> str | None:
    """What a tool gave back, if it reads like a failure."""
    return result if any(mark.search(result) for mark in FAILURES) else None


def compiled(error: str | None) -> bool:
    """Whether the code got as far as running: by its error, if it has one."""
    return error is None or DID_NOT_COMPILE.search(error) is None


def code_block(text: str) -> tuple[str, str] | None:
    """What a message says and the code in it; None unless it holds exactly one block."""
    blocks = list(_BLOCKS.finditer(text))
    if len(blocks) != 1:
        return None
    [block] = blocks
    code = block["fenced"] if block["fenced"] is not None else block["tagged"]
    prose = (text[: block.start()] + text[block.end() :]).strip()
    return prose, code.strip("\n")
