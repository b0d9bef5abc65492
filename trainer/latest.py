"""`models/latest`, which points at the model to be served, and the history of its changes.

Guarantee: `latest` changes by one rename. `history.jsonl` is written before it, so a change that a
crash cut short may stand there without having come about; readers go by what each change tells of
`latest` before it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from trainer.layout import folder_lock, sync_folder, write_durably

log = structlog.get_logger()

LATEST, HISTORY = "latest", "history.jsonl"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """`latest` came to point at `training_id`; `before` is where it pointed until then."""

    time: datetime
    training_id: str
    what: Literal["promoted", "rolled_back"]
    by: Literal["gate", "user"]
    before: str | None
    why: str | None


def read_latest(models: Path) -> str | None:
    """The training at which `latest` points."""
    link = models / LATEST
    return link.readlink().name if link.is_symlink() else None


def read_history(models: Path) -> list[Change]:
    """Oldest first. Raises: PairstreamError when the file is damaged."""
    path = models / HISTORY
    try:
        return msgspec.json.Decoder(Change).decode_lines(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except JSON_ERRORS as error:
        raise PairstreamError(
            f"{path} is damaged ({error}): restore it, or remove it and lose the way back"
        ) from error


def succession(history: Sequence[Change], latest: str | None) -> list[str]:
    """The way back: those that were `latest` one after another, the present one last. Pure.

    What was rolled back is no part of it any more, nor what a crash kept from coming about.
    """
    way: list[str] = []
    pointed_then = [*(change.before for change in history[1:]), latest]
    for change, then in zip(history, pointed_then, strict=False):
        if then == change.before:
            continue  # it was written down, and `latest` stayed where it was
        way = _at(way, change.before)
        if change.what == "promoted":
            way = [*way, change.training_id]
        else:
            way = _at(way, change.training_id)
    return _at(way, latest)


def _at(way: list[str], training_id: str | None) -> list[str]:
    """The way as far as a training, which it leads to if it did not before."""
    if training_id is None:
        return []
    while way and way[-1] != training_id and training_id in way:
        way = way[:-1]
    return way if way and way[-1] == training_id else [*way, training_id]


def promote_by_gate(models: Path, training_id: str, why: str) -> bool:
    """Point `latest` at a training that passed, once: a restart never undoes what a user changed
    since. Returns: whether `latest` points at it.
    """
    with folder_lock(models):  # one changes it at a time
        history = read_history(models)
        own = [
            n
            for n, each in enumerate(history)
            if (each.by, each.training_id) == ("gate", training_id)
        ]
        if own and own[-1] < len(history) - 1:
            log.info("latest_changed_since", training_id=training_id, latest=read_latest(models))
            return False
        if not own:
            _remember(models, history, _change(models, training_id, "promoted", "gate", why))
        _point(models, training_id)
        return True


def change_by_user(
    models: Path, training_id: str, what: Literal["promoted", "rolled_back"], why: str | None
) -> str | None:
    """Point `latest` at a training; nothing is changed where it does already.

    Returns: where it pointed before.
    """
    with folder_lock(models):  # one changes it at a time
        before = read_latest(models)
        if before != training_id:
            change = _change(models, training_id, what, "user", why)
            _remember(models, read_history(models), change)
            _point(models, training_id)
        return before


def _change(
    models: Path,
    training_id: str,
    what: Literal["promoted", "rolled_back"],
    by: Literal["gate", "user"],
    why: str | None,
) -> Change:
    return Change(
        time=datetime.now(UTC),
        training_id=training_id,
        what=what,
        by=by,
        before=read_latest(models),
        why=why,
    )


def _remember(models: Path, history: list[Change], change: Change) -> None:
    write_durably(models / HISTORY, msgspec.json.Encoder().encode_lines([*history, change]))
    crash_point("training.remembered")


def _point(models: Path, training_id: str) -> None:
    temporary = models / f".{LATEST}.{training_id}.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(training_id)
    temporary.replace(models / LATEST)
    sync_folder(models)
    crash_point("training.latest")
