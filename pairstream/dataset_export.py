"""Writes a dataset in another format, whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import orjson

from pairstream.dataset_facts import Progress, counted
from pairstream.export_formats import (
    COLUMNS,
    MESSAGES,
    Format,
    Row,
    dataset_card,
    preference_rows,
    unpaired_rows,
    whole_rows,
)
from pairstream.new_folder import folder_beside
from schemas.errors import PairstreamError
from trainer.datasets import EVAL, TRAIN, verify_dataset

ROWS_A_GROUP = 1000

ROWS_OF: dict[Format, Callable[[Row], Iterator[Row]]] = {
    "trl": preference_rows, "kto": unpaired_rows, "parquet": whole_rows, "hf": whole_rows
}  # fmt: skip


class RowWriter(Protocol):
    def add(self, row: Row) -> None: ...

    def close(self) -> None: ...


def export_dataset(folder: Path, format_: Format, out: Path, progress: Progress) -> dict[str, int]:
    """Returns: rows of each file, by its path below `out`.

    Raises: PairstreamError when the dataset is not what its manifest says, `out` is there already,
    or what the format needs is not installed.
    """
    arrow = _load_pyarrow() if format_ == "parquet" else None
    manifest = verify_dataset(folder)
    written: dict[str, int] = {}
    with folder_beside(out) as temporary:
        target = temporary / "export"
        target.mkdir()
        for source in (TRAIN, EVAL):
            if manifest.files[source].rows:  # no reader infers anything from an empty file
                path = _path(source, format_)
                (target / path).parent.mkdir(exist_ok=True)
                with (folder / source).open("rb") as lines:
                    rows = (orjson.loads(line) for line in counted(lines, manifest, progress))
                    written[path] = _write(target / path, rows, format_, arrow)
        if format_ == "hf":
            card = dataset_card(manifest, {Path(path).stem: path for path in written})
            (target / "README.md").write_text(card)
        target.rename(out)
    return written


def _path(source: str, format_: Format) -> str:
    if format_ == "hf":
        return f"data/{'train' if source == TRAIN else 'test'}.jsonl"
    return source if format_ != "parquet" else f"{Path(source).stem}.parquet"


def _write(path: Path, rows: Iterator[Row], format_: Format, arrow: Any) -> int:
    number = 0
    with closing(_Parquet(path, arrow) if arrow else _Lines(path)) as writer:
        for row in rows:
            for made in ROWS_OF[format_](row):
                writer.add(made)
                number += 1
    return number


class _Lines:
    """JSON lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def add(self, row: Row) -> None:
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Columns with their types, a group of rows at a time."""

    def __init__(self, path: Path, arrow: Any) -> None:
        message = arrow.struct([("role", arrow.string()), ("content", arrow.string())])
        types = {MESSAGES: arrow.list_(message)}
        self._schema = arrow.schema(
            [(name, types.get(kind) or getattr(arrow, kind)()) for name, kind in COLUMNS.items()]
        )
        self._table = arrow.Table
        self._writer = arrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def _load_pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise PairstreamError(
            "--format parquet needs the package pyarrow: install pairstream with its extra "
            "`parquet`, or export another format"
        ) from error
    return pyarrow
