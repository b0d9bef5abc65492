"""A folder that appears whole, or not at all, where there is none yet."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import PairstreamError


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
