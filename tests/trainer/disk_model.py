"""A disk that may lose power: what was done to it, and what may be left of that.

The model promises no more than POSIX does: what was not fsynced may be there or not, each effect
for itself and in any order. A file's content and mode are safe after an fsync of the file, a name
after an fsync of its folder; one rename happens or not. Content that was not synced may also be
there in part or as zeros. Content whose fsync failed is never safe, whatever a later fsync says.
"""

import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

ROOT = 0  # the folder's node
EXHAUSTIVE = 4  # so many effects in doubt give all their subsets, more of them a choice
CHOSEN = 6


@dataclass(frozen=True)
class Born:
    """A file, folder or link as it comes into being."""

    mode: int
    target: str = ""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True)
class Content:
    node: int
    content: bytes


@dataclass(frozen=True)
class Mode:
    node: int
    mode: int


@dataclass(frozen=True)
class Names:
    """One operation's change of the names in a folder; None for a name that is gone."""

    node: int
    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Sync:
    node: int


@dataclass(frozen=True)
class SyncFailed:
    node: int


Step = Content | Mode | Names | Sync | SyncFailed

# By path: mode, content or target, node. Two names of one file have the same node.
Tree = dict[str, tuple[int, bytes, int]]


@dataclass
class History:
    """All steps since the disk was empty, over as many starts as there were."""

    steps: list[Step] = field(default_factory=list)
    born: list[Born] = field(default_factory=lambda: [Born(stat.S_IFDIR | 0o755)])
    # What the model leaves out (see `Recorder`), as it was before each step.
    derived: list[dict[str, bytes]] = field(default_factory=list)

    def in_doubt(self, end: int) -> list[int]:
        """Which of the first steps no fsync has made safe."""
        doubtful: list[int] = []
        never_safe: set[int] = set()
        for number, step in enumerate(self.steps[:end]):
            own = {each for each in doubtful if self.steps[each].node == step.node}
            if isinstance(step, Sync):
                doubtful = [each for each in doubtful if each in never_safe or each not in own]
            elif isinstance(step, SyncFailed):
                never_safe |= {each for each in own if isinstance(self.steps[each], Content)}
            else:
                doubtful.append(number)
        return doubtful

    def until(self, end: int) -> "History":
        """As it was after so many steps; it can go another way from there."""
        return History(self.steps[:end], list(self.born), self.derived[:end])

    def tree(self, end: int, lost: frozenset[int] = frozenset(), torn: str = "") -> Tree:
        """What stands there when power fails after so many steps and some are lost."""
        contents: dict[int, bytes] = {}
        modes = {node: born.mode for node, born in enumerate(self.born)}
        names: dict[int, dict[str, int]] = {}
        doubtful = set(self.in_doubt(end)) if torn else set()
        for number, step in enumerate(self.steps[:end]):
            if number in lost:
                continue
            if isinstance(step, Content):
                whole = number not in doubtful
                contents[step.node] = step.content if whole else _tear(step.content, torn)
            elif isinstance(step, Mode):
                modes[step.node] = step.mode
            elif isinstance(step, Names):
                folder = names.setdefault(step.node, {})
                for name, node in step.changes:
                    if node is None:
                        folder.pop(name, None)
                    else:
                        folder[name] = node
        return dict(sorted(self._walk(ROOT, "", contents, modes, names)))

    def _walk(
        self,
        folder: int,
        above: str,
        contents: dict[int, bytes],
        modes: dict[int, int],
        names: dict[int, dict[str, int]],
    ) -> Iterator[tuple[str, tuple[int, bytes, int]]]:
        for name, node in names.get(folder, {}).items():
            path = f"{above}{name}"
            born = self.born[node]
            yield path, (modes[node], born.target.encode() or contents.get(node, b""), node)
            if born.is_folder:
                yield from self._walk(node, f"{path}/", contents, modes, names)

    def outcomes(self, end: int) -> Iterator[Tree]:
        """Trees that a loss of power after so many steps may leave; the poorest come first."""
        doubtful = self.in_doubt(end)
        if len(doubtful) <= EXHAUSTIVE:
            sizes = range(len(doubtful), -1, -1)
            lost = [frozenset(some) for size in sizes for some in combinations(doubtful, size)]
        else:
            chance = random.Random(end)
            some = [frozenset(n for n in doubtful if chance.random() < 0.5) for _ in range(CHOSEN)]
            lost = [frozenset(doubtful), frozenset(), frozenset(doubtful[:-1]), *some]
        for choice in lost:
            yield self.tree(end, choice)
        if any(isinstance(self.steps[number], Content) for number in doubtful):
            for torn in ("half", "zeros"):
                yield self.tree(end, torn=torn)
                yield self.tree(end, lost[-1], torn)


def _tear(content: bytes, torn: str) -> bytes:
    return content[: len(content) // 2] if torn == "half" else bytes(len(content))


def lay_out(tree: Tree, root: Path) -> None:
    """Make a tree of files."""
    made: dict[int, Path] = {}
    root.mkdir(parents=True)
    for name, (mode, content, node) in tree.items():
        path = root / name
        if stat.S_ISDIR(mode):
            path.mkdir()
        elif stat.S_ISLNK(mode):
            path.symlink_to(content.decode())
        elif node in made:
            path.hardlink_to(made[node])
        else:
            path.write_bytes(content)
            path.chmod(stat.S_IMODE(mode))
        made[node] = path
