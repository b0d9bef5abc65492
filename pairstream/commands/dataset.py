"""`pairstream dataset list`, `show`, `diff` and `export`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from pairstream.settings_loader import load
from schemas.settings import DataSettings

if TYPE_CHECKING:
    from pairstream.export_formats import Format
    from trainer.layout import DataDir

MAX_LENGTH = 2048

FORMATS = ("trl", "kto", "parquet", "hf")

_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--config", "config_file", type=click.Path(path_type=Path, dir_okay=False),
                 help="A TOML file of settings."),
    click.option("--data-dir", metavar="FOLDER",
                 help="Where datasets and models are.  [default: pairstream-data]"),
]  # fmt: skip


def in_data_dir(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def as_json_option(command: Any) -> Any:
    text = "One JSON object with the same facts."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def _data(config_file: Path | None, data_dir: str | None) -> "DataDir":
    from trainer.layout import DataDir

    return DataDir(load(DataSettings, config_file, {"data_dir": data_dir}).data_dir)


@click.group("dataset")
def command() -> None:
    """Look at datasets: what they hold, how they differ; take them elsewhere.

    Needs no broker. NAME is a dataset of the data directory such as ds-000001, or a folder with
    one, as `replay` makes it.
    """


@command.command("list")
@as_json_option
@in_data_dir
def list_(config_file: Path | None, data_dir: str | None, as_json: bool) -> None:
    """Show all datasets, oldest first, and what was trained on each.

    The keys of --json: datasets, each with name, parent, created_at, pairs, runs, held_out,
    garbled (null where an older trainer did not count) and trainings (training_id, state).

    \b
    Example:
      pairstream dataset list
    """
    from pairstream.dataset_facts import list_datasets
    from pairstream.dataset_text import list_lines
    from pairstream.terminal import as_json_text

    data = _data(config_file, data_dir)
    entries = list_datasets(data)
    if as_json:
        click.echo(as_json_text({"datasets": entries}))
    elif entries:
        click.echo("\n".join(list_lines(entries)))
    else:
        click.echo(f"no dataset in {data.root}: the trainer has cut none yet")


@command.command("show")
@click.argument("name")
@click.option("--tokens", "tokenizer", metavar="FOLDER",
              type=click.Path(path_type=Path, file_okay=False),
              help="Count lengths with the tokenizer of this base model too; needs the package "
              "tokenizers.")  # fmt: skip
@click.option("--max-length", type=click.IntRange(min=1), default=MAX_LENGTH, show_default=True,
              metavar="TOKENS", help="With --tokens: the training script's flag.")  # fmt: skip
@as_json_option
@in_data_dir
def show(
    config_file: Path | None,
    data_dir: str | None,
    name: str,
    tokenizer: Path | None,
    max_length: int,
    as_json: bool,
) -> None:
    """Show what the dataset NAME is made of, and where it came from.

    Holds its files against their hashes first. The keys of --json: folder, manifest (as it stands
    in the dataset), composition, trainings (as `status` gives them), forgotten (run_id, time and
    pairs of the runs in it that were forgotten), tokens (null without --tokens).

    \b
    Example:
      pairstream dataset show ds-000001 --tokens ./models/qwen3-0.6b
    """
    from pairstream.dataset_facts import describe_dataset, find_dataset, read_rows
    from pairstream.dataset_text import details_lines
    from pairstream.terminal import as_json_text, show_progress
    from pairstream.token_counts import count_tokens, load_counter

    count = load_counter(tokenizer) if tokenizer else None
    data = _data(config_file, data_dir)
    folder = find_dataset(data, name)
    details = describe_dataset(data, folder, show_progress)
    tokens = None
    if count is not None:
        rows = read_rows(folder, details.manifest, show_progress)
        tokens = count_tokens(rows, count, tokenizer=str(tokenizer), max_length=max_length)
    if as_json:
        facts = {"folder": details.folder, "manifest": details.manifest,
                 "composition": details.composition, "trainings": details.trainings,
                 "forgotten": details.forgotten, "tokens": tokens}  # fmt: skip
        click.echo(as_json_text(facts))
    else:
        click.echo("\n".join(details_lines(details, tokens)))


@command.command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--ids", "with_ids", is_flag=True, help="With the ids of the pairs that differ.")
@as_json_option
@in_data_dir
def diff(
    config_file: Path | None, data_dir: str | None, a: str, b: str, with_ids: bool, as_json: bool
) -> None:
    """Show which pairs stand in one of the datasets A and B and not in the other.

    The keys of --json: a, b, only_a, only_b, both, changed (in both, with other bytes), rules
    (only_a, only_b and both by rule), settings (both values of those that differ), ids (null
    without --ids).

    \b
    Example:
      pairstream dataset diff ds-000001 ./rebuilt --ids
    """
    from pairstream.dataset_diff import Comparison, side_by_side
    from pairstream.dataset_facts import counted, find_dataset
    from pairstream.dataset_text import diff_lines
    from pairstream.terminal import as_json_text, show_progress
    from trainer.datasets import dataset_lines, verify_dataset

    data = _data(config_file, data_dir)
    folders = [find_dataset(data, name) for name in (a, b)]
    manifests = [verify_dataset(folder) for folder in folders]
    lines = [
        counted(dataset_lines(folder), manifest, show_progress)
        for folder, manifest in zip(folders, manifests, strict=True)
    ]
    comparison = Comparison(keep_ids=with_ids)
    for line_a, line_b in side_by_side(*lines):
        comparison.add(line_a, line_b)
    found = comparison.result((a, b), *(manifest.settings for manifest in manifests))
    click.echo(as_json_text(found) if as_json else "\n".join(diff_lines(found)))


@command.command("export")
@click.argument("name")
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True,
              help="trl, kto: JSON lines as those trainers take them. parquet: all columns; needs "
              "pyarrow. hf: a folder with a card for datasets.load_dataset.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@in_data_dir
def export(
    config_file: Path | None, data_dir: str | None, name: str, format_: str, out: Path
) -> None:
    """Write the dataset NAME in another format, into a new folder.

    Holds its files against their hashes first, and overwrites nothing. The held-out share stays
    apart: eval.jsonl or eval.parquet, with hf the split `test`.

    \b
    Example:
      pairstream dataset export ds-000001 --format hf --out ./for-the-hub
    """
    from pairstream.dataset_export import export_dataset
    from pairstream.dataset_facts import find_dataset
    from pairstream.forgotten_text import marked_warning
    from pairstream.new_folder import refuse_trainers_folders
    from pairstream.terminal import show_progress

    data = _data(config_file, data_dir)
    refuse_trainers_folders(out, data)
    folder = find_dataset(data, name)
    if (warning := marked_warning(data, folder)) is not None:
        click.echo(warning, err=True)
    written = export_dataset(folder, cast("Format", format_), out, show_progress)
    for path, rows in written.items():
        click.echo(f"{out / path}: {rows} rows")
