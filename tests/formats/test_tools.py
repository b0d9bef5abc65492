"""Which calls run code, what failed, and where code stands in a message."""

import pytest

from pairstream.formats.record import Choices
from pairstream.formats.tools import code_block, code_of, compiled, failure_in


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("bash", {"command": "ls"}, "ls"),
        ("Bash", '{"command": "ls"}', "ls"),
        ("functions.shell", {"cmd": ["bash", "-lc", "ls"]}, "bash -lc ls"),
        ("python", "print(1)", "print(1)"),
        ("python", '"print(1)"', "print(1)"),
        ("execute_python", {"code": "a", "command": "b"}, "a"),
        ("bash", {"timeout": 3}, None),
        ("bash", {"command": ""}, None),
        ("read_file", {"code": "a"}, None),
        ("my_runner", {"code": "a"}, "a"),
    ],
)
def test_code_is_found_in_the_arguments_of_tools_that_run_it(
    tool: str, arguments: object, code: str | None
) -> None:
    assert code_of(tool, arguments, Choices(code_tools=frozenset({"my_runner"}))) == code


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("Traceback (most recent call last):\n  ...\nValueError", True),
        ("  File \"<string>\", line 1\n    f(\n     ^\nSyntaxError: '(' was never closed", True),
        ('  File "x", line 2\n    a\nIndentationError: unexpected indent', True),
        ("grep found:\nSyntaxError: is raised where code does not parse", False),
        ("<returncode>1</returncode>\n<output>\n</output>", True),
        ("<returncode>-15</returncode>", True),
        ("<returncode>0</returncode>", False),
        ('{"returncode": 2, "output": ""}', True),
        ('{"exit_code": 0}', False),
        ("Exit code: 127", True),
        ("exited with code 3", True),
        ("Exit code 0", False),
        ("It printed an error once, and went on.", False),
        ("", False),
    ],
)
def test_failure_is_read_from_what_a_tool_gave_back(text: str, failed: bool) -> None:
    assert (failure_in(text) is not None) == failed


@pytest.mark.parametrize(
    ("error", "did"),
    [(None, True), ("NameError: x", True), ("SyntaxError: (", False), ("IndentationError", False)],
)
def test_code_compiled_unless_the_compiler_spoke(error: str | None, did: bool) -> None:
    assert compiled(error) == did


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Do it.\n```python\na\nb\n```\nDone.", ("Do it.\n\nDone.", "a\nb")),
        ("Think.\n<code>\na\n</code>", ("Think.", "a")),
        ("No code.", None),
        ("```\na\n```\n```\nb\n```", None),
        ("Use `x` only.", None),
    ],
)
def test_message_with_one_block_is_words_and_code(text: str, parts: tuple[str, str] | None) -> None:
    assert code_block(text) == parts
