"""Records what is done below a folder, for `disk_model`.

The recorder believes no call: before each operation (Python's audit events name them) it looks at
the whole tree and writes down what changed since, so nothing written is missed; the calls of
`os.fsync`, which changes nothing that could be seen, are its only other source. An fsync that it
overlooked would make the model lose more, never less.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.disk_model import (
    ROOT,
    Born,
    Content,
    History,
    Mode,
    Names,
    Step,
    Sync,
    SyncFailed,
    Tree,
)

EVENTS = {
    "open", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod",
    "os.truncate",
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

RENAMED_NAMES = 2  # the old one and the new one: no operation changes more at once


class Recorder:
    """Goes on with a history below `root`, where the history's tree is laid out.

    Files whose names begin with `derived` are no part of the model: they may be in any state.
    `before_sync` is asked at each call of `os.fsync`: it may raise, or leave the call out by False.
    """

    def __init__(
        self, root: Path, history: History, *, derived: str, before_sync: Callable[[], bool]
    ) -> None:
        self.history = history
        self._root = root
        self._derived = derived
        self._before_sync = before_sync
        self._nodes: dict[int, int] = {}
        self._seen = history.tree(len(history.steps))
        for name, (_, _, node) in self._seen.items():
            self._nodes[(root / name).lstat().st_ino] = node
        self._nodes[root.stat().st_ino] = ROOT

    def look(self) -> int:
        """Write down what changed since the last look; returns the number of steps."""
        self._derived_files: dict[str, bytes] = {}
        found: Tree = {}
        gone = set(self._nodes.values()) - {ROOT}
        self._scan(self._root, "", found, gone)
        for ino in [ino for ino, node in self._nodes.items() if node in gone]:
            del self._nodes[ino]  # the number may be given to another file
        self._compare_names(found)
        self._compare_files(found)
        self._seen = found
        return len(self.history.steps)

    def _scan(self, folder: Path, above: str, found: Tree, gone: set[int]) -> None:
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            if entry.name.startswith(self._derived):
                self._derived_files[above + entry.name] = Path(entry.path).read_bytes()
                continue
            told = entry.stat(follow_symlinks=False)
            target = str(Path(entry.path).readlink()) if entry.is_symlink() else ""
            if told.st_ino not in self._nodes:
                self._nodes[told.st_ino] = len(self.history.born)
                self.history.born.append(Born(told.st_mode, target))
            node = self._nodes[told.st_ino]
            gone.discard(node)
            is_file = stat.S_ISREG(told.st_mode)
            content = Path(entry.path).read_bytes() if is_file else target.encode()
            found[above + entry.name] = (told.st_mode, content, node)
            if stat.S_ISDIR(told.st_mode):
                self._scan(Path(entry.path), f"{above}{entry.name}/", found, gone)

    def _compare_names(self, found: Tree) -> None:
        before, after = _by_folder(self._seen), _by_folder(found)
        for folder in sorted(before.keys() | after.keys()):
            old, new = before.get(folder, {}), after.get(folder, {})
            changes = [
                (name, new.get(name))
                for name in sorted(old.keys() | new.keys())
                if old.get(name) != new.get(name)
            ]
            if changes and folder in {ROOT, *(node for _, _, node in found.values())}:
                assert len(changes) <= RENAMED_NAMES, f"an operation was overlooked: {changes}"
                self._write_down(Names(folder, tuple(changes)))

    def _compare_files(self, found: Tree) -> None:
        known = {node: (mode, content) for mode, content, node in self._seen.values()}
        for mode, content, node in {each[2]: each for each in found.values()}.values():
            mode_before, content_before = known.get(node, (self.history.born[node].mode, b""))
            if content != content_before and stat.S_ISREG(mode):
                self._write_down(Content(node, content))
            if mode != mode_before:
                self._write_down(Mode(node, mode))

    def _write_down(self, step: Step) -> None:
        self.history.steps.append(step)
        self.history.derived.append(self._derived_files)

    def truncate(self, path: str) -> None:
        """A file is about to lose its content, and may get the same again."""
        name = path.removeprefix(f"{self._root}/")
        if self._seen.get(name, (0, b"", 0))[1]:
            mode, _, node = self._seen[name]
            self._seen[name] = (mode, b"", node)
            self._write_down(Content(node, b""))

    def sync(self, handle: int) -> None:
        """Stands for `os.fsync`."""
        self.look()
        node = self._nodes.get(os.fstat(handle).st_ino)
        if node is None:
            return
        try:
            if self._before_sync():
                self._write_down(Sync(node))
        except OSError:
            self._write_down(SyncFailed(node))
            raise


def _by_folder(tree: Tree) -> dict[int, dict[str, int]]:
    folders: dict[int, dict[str, int]] = {}
    for path, (_, _, node) in tree.items():
        above, _, name = path.rpartition("/")
        folders.setdefault(tree[above][2] if above else ROOT, {})[name] = node
    return folders


_recorder: Recorder | None = None
_hooked = False


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event != "open" or (arguments[2] or 0) & WRITING
    if event in EVENTS and writes and _recorder is not None:
        with paused() as recorder:
            recorder.look()
            if event == "open" and arguments[2] & os.O_TRUNC:
                recorder.truncate(str(arguments[0]))


@contextmanager
def paused() -> Iterator[Recorder]:
    """While the recorder itself reads and writes."""
    global _recorder
    recorder, _recorder = _recorder, None
    assert recorder is not None
    try:
        yield recorder
    finally:
        _recorder = recorder


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Everything that is done here is recorded, and no real fsync takes its time."""
    global _recorder, _hooked
    if not _hooked:
        sys.addaudithook(_on_event)
        _hooked = True

    def sync(handle: int) -> None:
        with paused():
            recorder.sync(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        _recorder = recorder
        try:
            yield
        finally:
            _recorder = None
            recorder.look()
