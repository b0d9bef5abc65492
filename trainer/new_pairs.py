"""What the trigger's policies ask of the pairs that no cut has looked at yet: tasks, and an age."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from trainer.segments import Segment


class _Origin(msgspec.Struct, gc=False):
    run_id: str
    task_id: str | None


_decoder = msgspec.json.Decoder(_Origin)


class NewPairs:
    """Counts no more tasks than are wanted, so its size is bound; one task is always there."""

    def __init__(self, wanted_tasks: int) -> None:
        self._wanted = wanted_tasks
        self._tasks: set[tuple[bool, str]] = set()
        self.oldest_at: datetime | None = None

    @property
    def tasks(self) -> int:
        return len(self._tasks)

    def add_pair(self, run_id: str, task_id: str | None) -> None:
        """A run without a task is one of its own, as where whole tasks are held out."""
        if 1 < self._wanted > len(self._tasks):
            self._tasks.add((task_id is not None, task_id or run_id))

    def add_segment(self, folder: Path, segment: Segment) -> None:
        """Its pairs are as old as the file: they were taken in shortly before it was closed."""
        if segment.rows:
            closed = (folder / segment.path).stat().st_mtime
            at = datetime.fromtimestamp(closed, UTC)
            self.oldest_at = min(at, self.oldest_at or at)

    def read_segment(self, folder: Path, segment: Segment) -> None:
        """A closed one with its pairs. Raises: PairstreamError that names a damaged file."""
        path = folder / segment.path
        try:
            self.add_segment(folder, segment)
            if 1 < self._wanted > len(self._tasks):
                with path.open("rb") as lines:
                    for line in lines:
                        pair = _decoder.decode(line)
                        self.add_pair(pair.run_id, pair.task_id)
        except (OSError, *JSON_ERRORS) as error:
            raise PairstreamError(f"{path} cannot be read ({error}): restore it") from error

    def clear(self) -> None:
        """After a cut."""
        self._tasks.clear()
        self.oldest_at = None
