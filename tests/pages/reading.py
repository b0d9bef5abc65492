"""What a reader of a page types, line by line, and the files that it has them write."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from subprocess import run
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
TEXTS = [README, *PAGES, ROOT / "client" / "README.md", *EXAMPLES]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
SAVED = re.compile(r"(?:Save this as|into a file,) `([\w.]+)`")
NAMED = re.compile(r"\A# ([\w.]+)\n")
COMMENT = re.compile(r"\s+# .*$")

# What begins a line that is meant for a shell, whatever the block says that it is.
PROGRAMS = (
    "cd", "cp", "curl", "docker", "export", "git", "kubectl", "make", "mkdir", "npm", "pairstream",
    "pip", "python", "python3",
)  # fmt: skip


class Typed(NamedTuple):
    """One command, whole; `section` is the heading that it stands under.

    `shown`: what the page says comes of it, where it shows that.
    """

    section: str
    text: str
    shown: str


class Saved(NamedTuple):
    """A file that the reader writes."""

    section: str
    name: str
    content: str


Step = Typed | Saved


def steps_of(text: str) -> Iterator[Step]:
    """In the order of the page."""
    for block in FENCE.finditer(text):
        before = text[: block.start()]
        section = HEADING.findall(FENCE.sub("", before))[-1]
        indent, language, content = block.groups()
        content = content.replace(f"\n{indent}", "\n").removeprefix(indent)
        saved = SAVED.search(before.rstrip().rpartition("\n\n")[2])
        named = NAMED.match(content) if language == "toml" else None
        if found := saved or named:
            yield Saved(section, found[1], content)
        elif language == "sh":
            yield from (Typed(section, command, "") for command in commands_of(content))
        elif language == "console":
            yield from _console(section, content)


def unmarked_commands(text: str) -> list[str]:
    """Lines that look like commands in blocks that do not say that they hold any."""
    return [
        line
        for _, language, content in FENCE.findall(text)
        if language not in ("sh", "console")
        for line in map(str.strip, content.splitlines())
        if line.split(" ")[0] in PROGRAMS and not line.startswith("export default")
    ]


def commands_of(block: str) -> Iterator[str]:
    """Without comments; a loop is one command, and so is a line that goes on in the next."""
    waiting: list[str] = []
    for line in block.splitlines():
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting.append(COMMENT.sub("", line))
        if not line.endswith("\\") and is_whole("\n".join(waiting)):
            yield "\n".join(waiting)
            waiting = []
    assert not waiting, f"no whole command: {waiting}"


@cache
def is_whole(command: str) -> bool:
    return run(["bash", "-n", "-c", command], capture_output=True, check=False).returncode == 0


def _console(section: str, content: str) -> Iterator[Typed]:
    for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
        typed, _, shown = part.partition("\n")
        [command] = commands_of(typed)
        yield Typed(section, command, shown)
