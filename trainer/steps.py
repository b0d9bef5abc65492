"""What a training's folder says of its life, for people: its steps, and what it waits for now.

Nothing is decided by these files, so they are not made to survive a loss of power; a line that was
torn is passed over, and so is what the training itself may have put in their place.
"""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.json_errors import JSON_ERRORS
from schemas.rows import TrainingStepName
from trainer.layout import content_of, open_no_link, open_to_read

STEPS, WAITS = "steps.jsonl", ".waits.json"


class StepNote(msgspec.Struct, frozen=True):
    """One step, as the topic of trainings has it."""

    time: datetime
    step: TrainingStepName
    detail: str | None = None


class Wait(msgspec.Struct, frozen=True):
    """Why a training cannot start now, and since when that is so."""

    since: datetime
    why: str


def note_step(folder: Path, step: TrainingStepName, detail: str | None) -> None:
    line = msgspec.json.encode(StepNote(datetime.now(UTC), step, detail))
    with open_no_link(folder / STEPS, "ab") as file:
        file.write(line + b"\n")


def read_steps(folder: Path) -> list[StepNote]:
    """Oldest first; none where an older trainer worked."""
    try:
        with open_to_read(folder / STEPS) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    notes = (_note(line) for line in lines)
    return [note for note in notes if note is not None]


def _note(line: bytes) -> StepNote | None:
    try:
        return msgspec.json.decode(line, type=StepNote)
    except JSON_ERRORS:
        return None


def note_wait(folder: Path, why: str) -> bool:
    """`since` stays while the reason stays. Returns: whether it is another one."""
    known = read_wait(folder)
    if known is not None and known.why == why:
        return False
    temporary = folder / f"{WAITS}.tmp"
    with open_no_link(temporary, "wb") as file:
        file.write(msgspec.json.encode(Wait(datetime.now(UTC), why)))
    temporary.replace(folder / WAITS)
    return True


def read_wait(folder: Path) -> Wait | None:
    """None where it waits for nothing."""
    try:
        return msgspec.json.decode(content_of(folder / WAITS), type=Wait)
    except (FileNotFoundError, *JSON_ERRORS):
        return None


def forget_wait(folder: Path) -> None:
    (folder / WAITS).unlink(missing_ok=True)
