"""Every place at which the trainer makes something safe, found in its sources."""

import ast
import functools
import sys
from pathlib import Path

import trainer

PACKAGE = Path(str(trainer.__file__)).parent

Place = tuple[str, int, int]  # file, first and last line


@functools.cache
def sync_sites() -> dict[str, Place]:
    """Every call in the trainer of `os.fsync`, or of a function of `layout` that comes to it."""
    durable = {"fsync", "sync"}
    functions = [
        node
        for node in ast.parse((PACKAGE / "layout.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    for function in [*functions, *functions]:
        if any(called(node) in durable for node in ast.walk(function)):
            durable.add(function.name)
    sites: dict[str, Place] = {}
    for source in sorted(PACKAGE.rglob("*.py")):
        module = source.relative_to(PACKAGE)
        for function in ast.walk(ast.parse(source.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and called(node) in durable:
                    name = (
                        f"{'.'.join(module.with_suffix('').parts)}.{function.name}:{called(node)}"
                    )
                    while name in sites:
                        name += "+"
                    sites[name] = (str(module), node.lineno, node.end_lineno or node.lineno)
    return sites


def called(node: ast.AST) -> str | None:
    """The last part of the name that is called."""
    if not isinstance(node, ast.Call):
        return None
    name = node.func
    return name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", None)


def passes(place: Place) -> bool:
    """Whether the caller's stack leads through these lines."""
    name, first, last = place
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code.co_filename
        if first <= frame.f_lineno <= last and code == str(PACKAGE / name):
            return True
        frame = frame.f_back
    return False
