"""Every crash point that the sources name, so that a new one is tested by itself."""

import ast
from pathlib import Path

import streams
import trainer

FOLDERS = [Path(str(package.__file__)).parent for package in (streams, trainer)]


def crash_points(start: str) -> list[str]:
    """Names that begin so, in the order of their modules and lines."""
    return [
        name
        for folder in FOLDERS
        for source in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "crash_point"
        for name in [ast.literal_eval(node.args[0])]
        if name.startswith(start)
    ]
