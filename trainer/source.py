"""The topic that a data directory was filled from: positions mean nothing in another."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from schemas.source import Source
from trainer.layout import DataDir, folder_lock, make_folder, write_durably


class Loss(msgspec.Struct, frozen=True):
    """Offsets `first` to `last`, both included, that were gone before they were read.

    The user went on behind them: a segment without rows covers them.
    """

    partition: int
    first: int
    last: int
    accepted_at: datetime


class SourceFile(msgspec.Struct, frozen=True):
    """`source.json`: `id` names the data directory where several share one Docker Engine.

    `starts` are the first offsets that the trainer wanted to read, by partition; null before its
    first start.
    """

    id: str
    source: Source
    starts: dict[int, int] | None = None
    losses: list[Loss] = []


def open_source(data: DataDir, source: Source) -> SourceFile:
    """Remember the source of a new data directory, or hold the source against it.

    Raises: PairstreamError that says what differs and what to do.
    """
    if not data.source.exists():
        if any(data.segments.glob("*/*.jsonl")):
            raise PairstreamError(f"{data.source} is gone: restore it, or use a new data directory")
        make_folder(data.root)
        with folder_lock(data.root):
            return _write(data, SourceFile(_early_id(data) or secrets.token_hex(4), source))
    known = read_source(data)
    if known.source != source:
        raise PairstreamError(_explain(data, known.source, source))
    return known


def directory_id(data: DataDir) -> str:
    """The id of the data directory, made where it has none yet.

    Its trainer takes it over: under another one it would not find a container that runs already.
    """
    make_folder(data.root)
    with folder_lock(data.root):
        if data.source.exists():
            return read_source(data).id
        if not data.early_id.exists():
            write_durably(data.early_id, secrets.token_hex(4).encode() + b"\n")
        return _early_id(data)


def _early_id(data: DataDir) -> str:
    """Empty where there is none."""
    return data.early_id.read_text().strip() if data.early_id.exists() else ""


def remember_starts(data: DataDir, known: SourceFile, earliest: Mapping[int, int]) -> SourceFile:
    """Where each partition is read from: its earliest offset when the trainer first came."""
    if known.starts is not None:
        return known
    return _write(data, msgspec.structs.replace(known, starts=dict(earliest)))


def remember_losses(data: DataDir, losses: Sequence[Loss]) -> None:
    """Write down what is about to be passed over; told again, a loss replaces what was told."""
    known = read_source(data)
    again = {(loss.partition, loss.first) for loss in losses}
    kept = [loss for loss in known.losses if (loss.partition, loss.first) not in again]
    _write(data, msgspec.structs.replace(known, losses=[*kept, *losses]))


def _write(data: DataDir, content: SourceFile) -> SourceFile:
    write_durably(data.source, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    return content


def read_source(data: DataDir) -> SourceFile:
    """Raises: PairstreamError when the file is damaged."""
    try:
        return msgspec.json.decode(data.source.read_bytes(), type=SourceFile)
    except (OSError, *JSON_ERRORS) as error:
        raise PairstreamError(
            f"{data.source} cannot be read ({error}): restore it, or use a new data directory"
        ) from error


def what_differs(known: Source, found: Source) -> str:
    """Why what was filled from the one topic does not fit the other one. Pure."""
    if known.cluster_id != found.cluster_id:
        return f"it was filled from cluster {known.cluster_id}, and this is {found.cluster_id}"
    if known.topic != found.topic:
        return f"it was filled from {known.topic}, and this is {found.topic}"
    if known.topic_id != found.topic_id:
        return f"{known.topic} was re-created: its offsets mean something else now"
    return f"{known.topic} had {known.partitions} partitions and has {found.partitions} now"


def _explain(data: DataDir, known: Source, found: Source) -> str:
    return (
        f"{data.root} does not fit: {what_differs(known, found)}; start the trainer with a "
        "new --data-dir (the datasets in the old one stay valid)"
    )
