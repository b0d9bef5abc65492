"""A folder that appears whole, or not at all, where there is none yet."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from schemas.errors import PairstreamError
from trainer.layout import DataDir

ELSEWHERE = "./elsewhere"


def refuse_trainers_folders(out: Path, data: DataDir) -> None:
    """A trainer takes what stands among its own for its own, and removes what it does not know.

    Raises: click.UsageError.
    """
    target, root = out.resolve(), data.root.resolve()
    for folder in data.folders:
        if target.is_relative_to(folder.resolve()):
            raise click.UsageError(
                f"--out: {out} lies in the trainer's own {folder}: name a new folder outside of "
                f"it, such as {ELSEWHERE}"
            )
    if target == root:
        raise click.UsageError(
            f"--out: {out} is the trainer's data directory: name a new folder, such as {ELSEWHERE}"
        )


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A temporary folder, of which a part becomes `out` by a rename; what is left is removed.

    Raises: PairstreamError when something is there already: nothing is ever overwritten.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PairstreamError(f"{out} is there already: name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
